"""What fixes a network: sizes of the two towers, the experts, the resolutions."""

from dataclasses import dataclass
from typing import Literal

from pydantic import ConfigDict

STRICT = ConfigDict(extra="forbid")
FreezeMode = Literal["none", "freeze_vision", "freeze_lang", "freeze_lang_vision"]


@dataclass(frozen=True)
class VisionConfig:
    """A CLIP vision transformer, with the resampler that shares its width.

    Attributes:
        activation: `quick_gelu` (OpenAI) or `gelu` (OpenCLIP ViT-H/14).
        latents_std: standard deviation of the resampler's new latents; None is width ** -0.5, as the
            original has it. So small ones soon look alike, and take long to part when trained from scratch.
        attention_std: standard deviation of new input projections of attention, the resampler's too; None:
            Xavier's uniform ones, as the original has them.
        adaptors_std: standard deviation of new adaptors' weights, beside zero biases; None: torch's uniform
            ones, as the original has them. Small ones add little at first.
    """

    __pydantic_config__ = STRICT
    width: int
    layers: int
    heads: int
    patch_size: int
    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"
    latents_std: float | None = None
    attention_std: float | None = None
    adaptors_std: float | None = None


@dataclass(frozen=True)
class TextConfig:
    """A RoBERTa text tower. `initializer_range`: standard deviation of new weights."""

    __pydantic_config__ = STRICT
    hidden_size: int
    layers: int
    heads: int
    ffn_size: int
    vocab_size: int = 50265
    max_positions: int = 514
    dropout: float = 0.1
    initializer_range: float = 0.02
    pad_id: int = 1
    bos_id: int = 0
    eos_id: int = 2


@dataclass(frozen=True)
class PrismerConfig:
    """A whole Prismer; PrismerZ has no experts.

    Attributes:
        experts: modality names, in the order in which their tokens reach the resampler.
        image_resolution: side of the square RGB input, pixels.
        label_resolution: side of the square label inputs, pixels.
        compat: reproduce the original's odd behaviour where ours differs (README, "Fidelity").
    """

    __pydantic_config__ = STRICT
    vision: VisionConfig
    text: TextConfig
    experts: tuple[str, ...]
    image_resolution: int
    label_resolution: int = 224
    compat: bool = False
