"""YAML files read into typed objects.

A file that is missing, a key that is unknown or absent, a value of the wrong type: each is a one-line
`UserError` that names the file, the key and what was expected, before any weight is loaded.
"""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BeforeValidator, Field

from model.config import STRICT, FreezeMode, PrismerConfig, TextConfig, VisionConfig
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


PositiveInt = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(ge=0)]
Experts = Annotated[list[str], BeforeValidator(_expert_list)]
# For each expert, the network that makes its labels: a name, or a mapping with `name`, `batch_size` if it
# is to differ, and the network's own options (experts/registry.py).
Backends = dict[str, str | dict[str, Any]]


@dataclass(frozen=True)
class ModelSize:
    """An entry of `configs/models.yaml`."""

    __pydantic_config__ = STRICT
    vision: VisionConfig
    text: TextConfig
    tokenizer: str


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """What every task reads: the network's name, its experts, where images and labels are."""

    __pydantic_config__ = STRICT
    dataset: str
    data_path: Path
    label_path: Path
    class_tables: Path
    experts: Experts
    prismer_model: str
    image_resolution: PositiveInt
    label_resolution: PositiveInt = 224
    prefix: str = ""
    batch_size_test: PositiveInt
    num_workers: Annotated[int, Field(ge=0)] = 4
    compat: bool = False


@dataclass(frozen=True, kw_only=True)
class CaptionConfig(InputConfig):
    """A data-set section of `configs/caption.yaml`.

    Attributes:
        train_list, test_list: caption lists of a `custom` data set, relative to `data_path`.
        augment: crop, mirror and alter training images; mirroring is wrong where captions say left and right.
        captions_per_image: with more than 1, an image is read and encoded once for so many of its captions,
            which then count as one sample of `batch_size_train`.
        from_scratch: start from new weights instead of `logging/pretrain_<exp_name>`.
        warmup_steps: the learning rate rises linearly from 0 over so many steps.
        metrics: what an evaluation computes; METEOR and SPICE need Java and seconds to start.
    """

    dataset: Literal["coco", "nocaps", "custom"]
    train_list: str | None = None
    test_list: str | None = None
    augment: bool = True
    captions_per_image: PositiveInt = 1
    freeze: FreezeMode
    from_scratch: bool = False
    batch_size_train: PositiveInt
    init_lr: Rate
    min_lr: Rate = 0.0
    weight_decay: Rate = 0.05
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    max_epoch: PositiveInt
    num_beams: PositiveInt = 3
    max_length: PositiveInt = 20
    min_length: PositiveInt = 8
    metrics: list[Metric] = field(default_factory=lambda: list(get_args(Metric)))

    @property
    def decoding(self) -> dict[str, int]:
        """The settings of the beam search."""
        return {
            "num_beams": self.num_beams,
            "max_length": self.max_length,
            "min_length": self.min_length,
        }


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """The section `demo` of `configs/caption.yaml`; the checkpoint says the rest.

    Attributes:
        backends: for each expert, the network that labels images that have no label of it yet.
    """

    __pydantic_config__ = STRICT
    data_path: Path
    label_path: Path
    backends: Backends
    batch_size: PositiveInt


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


def prismer_config(config: InputConfig, size: ModelSize) -> PrismerConfig:
    """The network that a task's config asks for."""
    return PrismerConfig(
        vision=size.vision,
        text=size.text,
        experts=tuple(config.experts),
        image_resolution=config.image_resolution,
        label_resolution=config.label_resolution,
        compat=config.compat,
    )


def config_as_json(config: Any) -> dict[str, Any]:
    """A config as plain JSON values, to be stored beside results."""
    return json.loads(json.dumps(asdict(config), default=str))
