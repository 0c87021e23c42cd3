"""The registry of expert modalities, for model, data, label generation and pictures.

Nothing else in the project depends on a modality's name. To add a modality, add an entry here and a backend
that writes its labels (`experts/`).
"""

from dataclasses import dataclass
from enum import StrEnum

from common.errors import UserError

BACKGROUND = 255  # the value of a byte label map where there is no class, no instance, no word
EMBEDDING_DIM = 64  # width of a class or word embedding: CLIP text features reduced by PCA


class Kind(StrEnum):
    """The meaning of a label's pixels."""

    CONTINUOUS = "continuous"  # a quantity, 0..255
    SEMANTIC = "semantic"  # a class index
    INSTANCE = "instance"  # an instance id; a sidecar file maps it to a class
    WORDS = "words"  # a word id; a sidecar file maps it to text and embedding


@dataclass(frozen=True)
class Modality:
    """One expert's label.

    Attributes:
        name: name in configs, and of the label folder.
        kind: the meaning of its pixels.
        channels: channels of the label's PNG (1 grey, 3 RGB).
        stem: name of its stem in the model (`expert_encoder.conv1.<stem>`).
        sidecars: suffixes of the file beside the PNG: the first is written, the others are older and only read.
        classes: name of the class table its indices point into; None if it has no table.
        colour_map: matplotlib's name of its colours in pictures; None: its own values.
    """

    name: str
    kind: Kind
    channels: int
    stem: str
    sidecars: tuple[str, ...] = ()
    classes: str | None = None
    colour_map: str | None = None

    @property
    def is_label_map(self) -> bool:
        """Whether its pixels are indices rather than quantities."""
        return self.kind is not Kind.CONTINUOUS

    @property
    def fill(self) -> int:
        """The byte for missing labels, and outside of the image after augmentation."""
        return BACKGROUND if self.is_label_map else 0


MODALITIES = {
    modality.name: modality
    for modality in (
        Modality("depth", Kind.CONTINUOUS, 1, "depth", colour_map="magma"),
        Modality("normal", Kind.CONTINUOUS, 3, "normal"),
        Modality("seg_coco", Kind.SEMANTIC, 1, "seg", classes="coco"),
        Modality("seg_ade", Kind.SEMANTIC, 1, "seg", classes="ade"),
        Modality("seg_scenes", Kind.SEMANTIC, 1, "seg", classes="scenes"),
        Modality("edge", Kind.CONTINUOUS, 1, "edge"),
        Modality("obj_detection", Kind.INSTANCE, 1, "obj_detection", (".json",), classes="detection"),
        Modality("ocr_detection", Kind.WORDS, 1, "ocr_detection", (".json", ".pt")),
    )
}


def modality(name: str) -> Modality:
    """The registry's entry for a name.

    Raises:
        UserError: no such expert; the message lists the known ones.
    """
    if name not in MODALITIES:
        raise UserError(f"unknown expert '{name}'; known experts: {', '.join(MODALITIES)}")
    return MODALITIES[name]
