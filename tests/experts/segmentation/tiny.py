"""Checkpoints of `transformers` in the size of tests."""

import json
from pathlib import Path

import torch
from transformers import (
    CLIPTokenizer,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessor,
    OneFormerConfig,
    OneFormerForUniversalSegmentation,
    OneFormerImageProcessor,
    PreTrainedModel,
    SwinConfig,
)

from dataset.class_tables import class_names

_SIZE = {"shortest_edge": 64, "longest_edge": 96}


def _sizes(labels: list[str]) -> dict:
    return {
        "backbone_config": SwinConfig(
            embed_dim=16,
            depths=[1, 1, 1, 1],
            num_heads=[1, 2, 4, 8],
            window_size=4,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        ),
        "mask_dim": 32,
        "hidden_dim": 32,
        "encoder_feedforward_dim": 32,
        "encoder_layers": 1,
        "decoder_layers": 2,
        "num_attention_heads": 2,
        "dim_feedforward": 32,
        "num_queries": 7,
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
    }


def _varied(network: PreTrainedModel) -> PreTrainedModel:
    """Draws weights large enough that an image gets more than one class."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def save_mask2former(folder: Path, labels: list[str] | None = None) -> Path:
    """A Mask2Former that knows these classes, COCO's if none are given."""
    sizes = _sizes(list(labels or class_names("coco")))
    mask_dim = sizes.pop("mask_dim")
    config = Mask2FormerConfig(feature_size=32, mask_feature_size=mask_dim, **sizes)
    _varied(Mask2FormerForUniversalSegmentation(config)).save_pretrained(folder)
    Mask2FormerImageProcessor(size=_SIZE).save_pretrained(folder)
    return folder


def save_oneformer(folder: Path) -> Path:
    """A OneFormer that knows COCO's classes, with a tokenizer of single letters."""
    labels = list(class_names("coco"))
    config = OneFormerConfig(
        conv_dim=32,
        text_encoder_width=32,
        text_encoder_num_layers=1,
        query_dec_layers=1,
        **_sizes(labels),
    )
    _varied(OneFormerForUniversalSegmentation(config)).save_pretrained(folder)
    info = {str(index): {"name": label, "isthing": int(index < 80)} for index, label in enumerate(labels)}
    (folder / "classes.json").write_text(json.dumps(info))
    OneFormerImageProcessor(
        size=_SIZE, repo_path=str(folder), class_info_file="classes.json", num_text=7
    ).save_pretrained(folder)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    CLIPTokenizer(vocab={word: index for index, word in enumerate(words)}, merges=[]).save_pretrained(folder)
    return folder
