"""The configuration of a network: sizes of the two towers, experts, resolutions."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from common.validation import STRICT
from model.modalities import MODALITIES

Size = Annotated[int, Field(ge=1, le=1_000_000)]
Layers = Annotated[int, Field(ge=1, le=1_000)]
Deviation = Annotated[float, Field(ge=0)]
Side = Annotated[int, Field(ge=1, le=8192)]  # of a square picture, pixels
TokenId = Annotated[int, Field(ge=0)]
FreezeMode = Literal["none", "freeze_vision", "freeze_lang", "freeze_lang_vision"]


@dataclass(frozen=True)
class VisionConfig:
    """A CLIP vision transformer, with the resampler that shares its width.

    Attributes:
        activation: `quick_gelu` (OpenAI) or `gelu` (OpenCLIP ViT-H/14).
        latents_std: standard deviation of the resampler's new latents; None: width ** -0.5, as in the
            original. From scratch, such small latents soon become equal, and take long to differ.
        attention_std: standard deviation of new input projections of attention, the resampler's included;
            None: Xavier's uniform initialisation, as in the original.
        adaptors_std: standard deviation of new adaptors' weights, with zero biases; None: torch's uniform
            initialisation, as in the original. Small weights add little at first.
    """

    __pydantic_config__ = STRICT
    width: Size
    layers: Layers
    heads: Size
    patch_size: Size
    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"
    latents_std: Deviation | None = None
    attention_std: Deviation | None = None
    adaptors_std: Deviation | None = None

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")


@dataclass(frozen=True)
class TextConfig:
    """A RoBERTa text tower. `initializer_range`: standard deviation of new weights."""

    __pydantic_config__ = STRICT
    hidden_size: Size
    layers: Layers
    heads: Size
    ffn_size: Size
    vocab_size: Size = 50265
    max_positions: Size = 514
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    initializer_range: Deviation = 0.02
    pad_id: TokenId = 1
    bos_id: TokenId = 0
    eos_id: TokenId = 2

    def __post_init__(self) -> None:
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}")
        ids = (self.pad_id, self.bos_id, self.eos_id)
        if len(set(ids)) < len(ids) or max(ids) >= self.vocab_size:
            raise ValueError(f"pad_id, bos_id and eos_id must be three of the {self.vocab_size} tokens, got {ids}")
        if self.max_positions <= self.pad_id + 1:  # positions count up from pad_id
            raise ValueError(f"max_positions {self.max_positions} leaves none after pad_id {self.pad_id}")


@dataclass(frozen=True)
class PrismerConfig:
    """A whole Prismer; PrismerZ has no experts.

    Attributes:
        experts: modality names, in the order in which their tokens reach the resampler.
        image_resolution: side of the square RGB input, pixels.
        label_resolution: side of the square label inputs, pixels.
        compat: reproduce the original's behaviour where ours differs on purpose (docs/verification.md).
    """

    __pydantic_config__ = STRICT
    vision: VisionConfig
    text: TextConfig
    experts: tuple[str, ...]
    image_resolution: Side
    label_resolution: Side = 224
    compat: bool = False

    def __post_init__(self) -> None:
        if unknown := [name for name in self.experts if name not in MODALITIES]:
            raise ValueError(f"unknown expert '{unknown[0]}'; known: {', '.join(MODALITIES)}")
        if len(set(self.experts)) < len(self.experts):
            raise ValueError(f"an expert is named twice: {', '.join(self.experts)}")
        if self.experts and self.vision.width % 8:  # the stems' first layer has an eighth of it
            raise ValueError(f"vision width {self.vision.width} is not a multiple of 8, as experts need it")
        if self.image_resolution < self.vision.patch_size:
            raise ValueError(
                f"image_resolution {self.image_resolution} is less than patch_size {self.vision.patch_size}"
            )
