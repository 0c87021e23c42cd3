"""The sizes of the model: entries of `configs/models.yaml`."""

from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.files import ROOT
from common.validation import STRICT
from common.yaml_config import Name, read_config, read_yaml
from model.config import TextConfig, VisionConfig

MODELS_FILE = ROOT / "configs" / "models.yaml"


@dataclass(frozen=True)
class Backbones:
    """Pre-trained networks for new models: a folder, a file, or a name on the Hugging Face hub.

    Attributes:
        vision: CLIP, for its vision tower.
        text: RoBERTa with its masked-LM head.
    """

    __pydantic_config__ = STRICT
    vision: Name
    text: Name


@dataclass(frozen=True)
class ModelSize:
    """An entry of `configs/models.yaml`. Without backbones a new model's weights are random."""

    __pydantic_config__ = STRICT
    vision: VisionConfig
    text: TextConfig
    tokenizer: Name
    backbones: Backbones | None = None


def read_model_size(name: str, path: Path | str = MODELS_FILE) -> ModelSize:
    """The entry of `configs/models.yaml` for a `prismer_model`."""
    sizes = read_yaml(path)
    if name not in sizes:
        raise UserError(f"{path}: unknown prismer_model '{name}'; known: {', '.join(sizes)}")
    return read_config(path, ModelSize, name)
