"""YAML files read into typed objects.

A file that is missing, a key that is unknown or absent, a value of the wrong type: each is a one-line
`UserError` that names the file, the key and what was expected, before any weight is loaded.
"""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BeforeValidator, Field

from dataset.text import MAX_WORDS
from model.config import STRICT, TextConfig, VisionConfig
from model.errors import UserError, one_line
from model.modalities import modality
from model.validation import validate

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent  # the project's folder
MODELS_FILE = ROOT / "configs" / "models.yaml"
Metric = Literal["bleu", "meteor", "rouge", "cider", "spice"]


def _expert_list(value: Any) -> Any:
    """`none` and an empty list both mean PrismerZ."""
    if value == "none":
        return []
    if isinstance(value, list):
        try:
            for name in value:
                modality(str(name))
        except UserError as error:
            raise ValueError(error) from None
    return value


def _short(prefix: str) -> str:
    if len(prefix.split()) >= MAX_WORDS:
        raise ValueError(f"should have less than {MAX_WORDS} words, which a training caption has at most")
    return prefix


Prefix = Annotated[str, AfterValidator(_short)]
PositiveInt = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(ge=0)]
Experts = Annotated[list[str], BeforeValidator(_expert_list)]
# For each expert, the network that makes its labels: a name, or a mapping with `name`, `batch_size` if it
# is to differ, and the network's own options (experts/registry.py).
Backends = dict[str, str | dict[str, Any]]


@dataclass(frozen=True)
class Backbones:
    """Networks from which new weights start: a folder or a file, or a name on the Hugging Face hub.

    Attributes:
        vision: CLIP, its vision tower is taken.
        text: RoBERTa with its masked-LM head.
    """

    __pydantic_config__ = STRICT
    vision: str
    text: str


@dataclass(frozen=True)
class ModelSize:
    """An entry of `configs/models.yaml`; without backbones all weights of a new model are random."""

    __pydantic_config__ = STRICT
    vision: VisionConfig
    text: TextConfig
    tokenizer: str
    backbones: Backbones | None = None


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """The section `demo` of `configs/caption.yaml`; the checkpoint says the rest.

    Attributes:
        backends: for experts that are not to be run as the checkpoint says, or else `configs/experts.yaml`,
            the network that labels images that have no label of them yet.
    """

    __pydantic_config__ = STRICT
    data_path: Path
    label_path: Path
    batch_size: PositiveInt
    backends: Backends = field(default_factory=dict)


class _YamlLoader(yaml.SafeLoader):
    """PyYAML after YAML 1.1 takes `5e-5` for a string; here it is a number, as everyone means it."""


_YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(path: Path | str) -> dict[str, Any]:
    """A YAML file whose top level is a mapping."""
    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_YamlLoader)  # a SafeLoader
    except FileNotFoundError:
        raise UserError(f"{path}: no such config file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not readable as YAML: {one_line(error)}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a mapping of keys to values at the top level")
    return content


def read_config(path: Path | str, cls: type[T], section: str | None = None) -> T:
    """Reads a config file, or one section of it, into a dataclass.

    Args:
        path: the YAML file.
        cls: a dataclass with `__pydantic_config__ = STRICT`.
        section: the top-level key to read; None reads the whole file.

    Raises:
        UserError: with the file, the key and what was expected.
    """
    content: Any = read_yaml(path)
    if section is not None:
        if section not in content:
            raise UserError(f"{path}: no section '{section}'; it has: {', '.join(map(str, content))}")
        content = content[section]
    return validate(content, cls, f"{path}" + (f" [{section}]" if section else ""))


def read_model_size(name: str, path: Path | str = MODELS_FILE) -> ModelSize:
    """The entry of `configs/models.yaml` for a `prismer_model`."""
    sizes = read_yaml(path)
    if name not in sizes:
        raise UserError(f"{path}: unknown prismer_model '{name}'; known: {', '.join(sizes)}")
    return read_config(path, ModelSize, name)


def config_as_json(config: Any) -> dict[str, Any]:
    """A config as plain JSON values, to be stored beside results."""
    return json.loads(json.dumps(asdict(config), default=str))
