"""The attribution of a text as a JSON file, which other programs can plot.

`{"text", "question", "words", "log_probs", "masses", "effects", "latents", "tokens"}`, by modality as in
`model.attribution.Attribution`. `tokens` holds for each word the rows of a square grid over the image.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.errors import UserError
from common.files import write_json
from common.strict_json import parse_json
from model.attribution import Attribution


@dataclass(frozen=True)
class AttributedText:
    """A caption, or an answer with its question, as printed, and its attribution."""

    text: str
    question: str | None
    attribution: Attribution


def attribution_file(folder: Path, key: str) -> Path:
    """The file of an image's attribution; `key` is that of its labels."""
    return folder / f"{key}.json"


def write_attribution(path: Path, told: AttributedText) -> None:
    """Writes a text and its attribution, rounded to four digits."""
    attribution = told.attribution
    content: dict[str, Any] = {"text": told.text, "question": told.question, "words": attribution.words}
    content |= {name: _rounded(getattr(attribution, name)) for name in ("log_probs", "latents")}
    for name in ("masses", "effects", "tokens"):
        content[name] = {modality: _rounded(values) for modality, values in getattr(attribution, name).items()}
    write_json(path, content)


def read_attribution(path: Path) -> AttributedText | None:
    """Reads the file of `write_attribution`; None if there is none, UserError if it is damaged."""
    try:
        content = parse_json(path.read_bytes())
        log_probs = torch.tensor(content["log_probs"])  # (w,)
        attribution = Attribution(
            words=tuple(content["words"]),
            log_probs=log_probs,
            tokens={name: torch.tensor(tokens) for name, tokens in content["tokens"].items()},
            latents=torch.tensor(content["latents"]),
            without={name: log_probs - torch.tensor(effect) for name, effect in content["effects"].items()},
        )
        return AttributedText(content["text"], content["question"], attribution)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"attribution {path}: damaged ({error!r}); delete it, or write it anew with demo.py --attribution"
        ) from None


def _rounded(values: Tensor) -> list[Any]:
    """Nested lists of numbers with four significant digits."""

    def rounded(value: Any) -> Any:
        return [rounded(each) for each in value] if isinstance(value, list) else float(f"{value:.4g}")

    return rounded(values.tolist())
