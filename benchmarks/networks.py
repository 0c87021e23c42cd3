"""The measured networks, with new weights, and random inputs for them."""

from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from helpers.checkpoints.load import build_model
from model.config import PrismerConfig
from model.modalities import EMBEDDING_DIM, Kind, modality
from model.modules.label_map import LabelMap
from model.prismer import Prismer
from model.sizes import read_model_size

EXPERTS = ("depth", "normal", "seg_coco", "edge", "obj_detection", "ocr_detection")
CLASSES = {"seg_coco": 133, "obj_detection": 20, "ocr_detection": 5}  # classes, instances, words
# roberta-base's tokenizer is not part of the project; the networks have its vocabulary size anyway.
TOKENIZER = "nano/tokenizer"
M = TypeVar("M", bound=Prismer)


def network(cls: type[M], tiny: bool) -> M:
    """Prismer-Base at 480 px in evaluation mode, or a tiny one."""
    torch.manual_seed(0)
    size = read_model_size("prismer_nano" if tiny else "prismer_base")
    image, label = (96, 64) if tiny else (480, 224)
    # dropout as in the large sizes
    config = PrismerConfig(size.vision, replace(size.text, dropout=0.1), EXPERTS, image, label)
    return build_model(cls, config, TOKENIZER).eval()


def random_inputs(config: PrismerConfig, batch: int) -> dict[str, Tensor | LabelMap]:
    """Random inputs of the encoder."""
    generator = torch.Generator().manual_seed(0)
    side = config.label_resolution
    inputs: dict[str, Tensor | LabelMap] = {
        "rgb": torch.randn(batch, 3, *[config.image_resolution] * 2, generator=generator)
    }
    for entry in map(modality, config.experts):
        if entry.is_label_map:
            rows = CLASSES[entry.name]
            index = torch.randint(rows, (batch, 1, side, side), generator=generator, dtype=torch.uint8)
            samples = () if entry.kind is Kind.SEMANTIC else (batch,)
            table = torch.randn(*samples, rows + 1, EMBEDDING_DIM, generator=generator)
            inputs[entry.name] = LabelMap(index, table)
        else:
            label = torch.rand(batch, entry.channels, side, side, generator=generator)
            inputs[entry.name] = 2 * label - 1
    return inputs


def texts(config: PrismerConfig, count: int, shortest: int, longest: int, end: bool) -> tuple[Tensor, Tensor]:
    """Random tokens, with uniformly distributed lengths.

    Args:
        config: of the network.
        count: number of texts.
        shortest: tokens of the shortest text, end token excluded.
        longest: tokens of the longest text, end token excluded.
        end: texts have an end token and right padding; otherwise left padding.

    Returns:
        Ids and mask, both int64 (count, longest or longest + 1).
    """
    generator = torch.Generator().manual_seed(1)
    text = config.text
    length = torch.randint(shortest, longest + 1, (count, 1), generator=generator)
    ids = torch.randint(5, text.vocab_size, (count, longest + end), generator=generator)
    place = torch.arange(longest + end)
    if end:
        ids[place == length] = text.eos_id
        mask = place <= length
    else:
        mask = place >= longest - length
    return ids.masked_fill(~mask, text.pad_id), mask.long()
