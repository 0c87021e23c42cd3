"""The evidence for a text as a file: JSON that others can plot as well.

`{"text", "question", "words", "log_probs", "masses", "effects", "latents", "tokens"}`; by modality, what
`model.evidence.Evidence` says. `tokens` has for each word the rows of a square grid over the image.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dataset.files import write_json
from dataset.json_text import parse_json
from model.errors import UserError
from model.evidence import Evidence


@dataclass(frozen=True)
class Told:
    """A caption, or an answer and what was asked, as it was printed, and its evidence."""

    text: str
    question: str | None
    evidence: Evidence


def evidence_file(folder: Path, key: str) -> Path:
    """Where the evidence of an image lies; `key` is that of its labels."""
    return folder / f"{key}.json"


def write_evidence(path: Path, told: Told) -> None:
    """Writes a text and its evidence, rounded to four digits."""
    evidence = told.evidence
    content = {
        "text": told.text,
        "question": told.question,
        "words": evidence.words,
        "log_probs": _rounded(evidence.log_probs),
        "masses": {name: _rounded(mass) for name, mass in evidence.masses.items()},
        "effects": {name: _rounded(effect) for name, effect in evidence.effects.items()},
        "latents": _rounded(evidence.latents),
        "tokens": {name: _rounded(tokens) for name, tokens in evidence.tokens.items()},
    }
    write_json(path, content)


def read_evidence(path: Path) -> Told | None:
    """What `write_evidence` wrote; None if there is no such file.

    Raises:
        UserError: damaged.
    """
    try:
        content = parse_json(path.read_bytes())
        log_probs = torch.tensor(content["log_probs"])  # (w,)
        evidence = Evidence(
            words=tuple(content["words"]),
            log_probs=log_probs,
            tokens={name: torch.tensor(tokens) for name, tokens in content["tokens"].items()},
            latents=torch.tensor(content["latents"]),
            without={name: log_probs - torch.tensor(effect) for name, effect in content["effects"].items()},
        )
        return Told(content["text"], content["question"], evidence)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"evidence {path}: damaged ({error!r}); delete it, or write it anew with demo.py --evidence"
        ) from None


def _rounded(values: Tensor) -> list[Any]:
    """Nested lists of numbers with four significant digits."""

    def rounded(value: Any) -> Any:
        return [rounded(each) for each in value] if isinstance(value, list) else float(f"{value:.4g}")

    return rounded(values.tolist())
