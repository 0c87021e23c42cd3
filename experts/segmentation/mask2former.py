"""The backend `mask2former`: the released Swin-L networks, for COCO's and ADE20K's classes.

The released files are detectron2's; the network is `transformers`' of the same architecture.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

from common.errors import UserError, one_line
from common.pickles import FETCH, read_pickle
from common.validation import STRICT
from common.weight_checks import check_weights
from dataset.class_tables import class_names
from experts.base import RuntimeConfig
from experts.batches import ChannelOrder, keep_shape
from experts.hub_networks import quiet
from experts.segmentation.detectron2_keys import RULES
from experts.segmentation.expert import UNUSED, SegmentationExpert, on_device, run_queries
from experts.weight_loading import renamed
from model.modalities import MODALITIES

FILES = {"seg_coco": "model_final_f07440.pkl", "seg_ade": "model_final_e0c58e.pkl"}
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
_HEADS = 8  # of the decoders' attention; no shape of a weight tells it


@dataclass(frozen=True)
class Options:
    """Options in a config.

    Attributes:
        channel_order: of the networks' input. Their mean and deviation are those of `rgb`; the labels of the
            released Prismers were made with `bgr`.
    """

    __pydantic_config__ = STRICT
    channel_order: ChannelOrder = "bgr"


def files(modalities: Sequence[str], options: Options, weights: Path) -> list[Path]:
    """The released networks, one per modality."""
    return [weights / FILES[name] for name in modalities]


def load(modalities: Sequence[str], options: Options, setting: RuntimeConfig) -> SegmentationExpert:
    """The expert with the released weights."""
    networks = {}
    for name in modalities:
        classes = len(class_names(MODALITIES[name].classes))
        network = read_network(setting.weights / FILES[name], classes)
        networks[name] = partial(run_queries, on_device(network, setting))
    prepare = partial(keep_shape, order=options.channel_order)
    return SegmentationExpert(networks, prepare, MEAN, STD, setting.device)


def read_network(path: Path, classes: int) -> Mask2FormerForUniversalSegmentation:
    """Reads a released network; its sizes follow from the shapes of its weights.

    Args:
        path: a pickle `{"model": {name: array}}`.
        classes: the expected number of classes.

    Raises:
        UserError: the file is missing, damaged, or of another network.
    """
    content = read_pickle(path)
    try:
        released = content["model"]
        config = network_config({name: values.shape for name, values in released.items()})
        if config.num_labels != classes:
            raise UserError(f"it knows {config.num_labels} classes, not {classes}")
        with quiet():
            network, report = Mask2FormerForUniversalSegmentation.from_pretrained(
                None,
                config=config,
                state_dict=renamed({name: torch.from_numpy(values) for name, values in released.items()}, RULES),
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # the report lists them
                output_loading_info=True,
            )
        if unknown := sorted(report["unexpected_keys"]):
            raise UserError(f"'{unknown[0]}' is no part of a Mask2Former")
        if missing := sorted(report["missing_keys"] - UNUSED):
            raise UserError(f"without {missing[0]}")
        for name, found, wanted in sorted(report["mismatched_keys"]):
            raise UserError(f"{name} is {tuple(found)}, not {tuple(wanted)}")
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError, UserError) as error:
        reason = one_line(error)[:150]
        raise UserError(
            f"{path}: not the Mask2Former that is expected there ({reason}); fetch it again: {FETCH}"
        ) from None
    check_weights(network.state_dict(), path)
    return network


def network_config(shapes: Mapping[str, Sequence[int]]) -> Mask2FormerConfig:
    """The sizes of a network, from its weights' shapes."""

    def count(pattern: str) -> int:
        return next(index for index in range(len(shapes) + 1) if pattern.format(index) not in shapes)

    norm, table = "backbone.layers.{}.blocks.{}.norm1.weight", "attn.relative_position_bias_table"
    stages = count(norm.format("{}", 0))
    tables = [shapes[f"backbone.layers.{stage}.blocks.0.{table}"] for stage in range(stages)]
    pixels, queries = "sem_seg_head.pixel_decoder", "sem_seg_head.predictor"
    layers = f"{queries}.transformer_ffn_layers"
    return Mask2FormerConfig(
        backbone_config=SwinConfig(
            embed_dim=shapes["backbone.patch_embed.proj.weight"][0],
            depths=[count(norm.format(stage, "{}")) for stage in range(stages)],
            num_heads=[heads for _, heads in tables],
            window_size=(math.isqrt(tables[0][0]) + 1) // 2,
            out_features=[f"stage{stage + 1}" for stage in range(stages)],
        ),
        feature_size=shapes[f"{pixels}.mask_features.weight"][1],
        mask_feature_size=shapes[f"{pixels}.mask_features.weight"][0],
        hidden_dim=shapes[f"{queries}.query_feat.weight"][1],
        encoder_feedforward_dim=shapes[f"{pixels}.transformer.encoder.layers.0.linear1.weight"][0],
        encoder_layers=count(pixels + ".transformer.encoder.layers.{}.norm1.weight"),
        decoder_layers=count(layers + ".{}.norm.weight") + 1,  # the library also counts the masks of the queries
        num_attention_heads=_HEADS,
        dim_feedforward=shapes[f"{layers}.0.linear1.weight"][0],
        num_queries=shapes[f"{queries}.query_feat.weight"][0],
        num_labels=shapes[f"{queries}.class_embed.weight"][0] - 1,
    )
