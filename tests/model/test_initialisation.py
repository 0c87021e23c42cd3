"""New weights: each tensor has the original's distribution, or that of its size's config."""

import math
import re
from dataclasses import replace

import pytest
import torch

from model.config import PrismerConfig
from model.prismer import Prismer
from model.sizes import read_model_size

WIDTH = 128
EXPERTS = ("depth", "normal", "seg_coco", "edge", "obj_detection", "ocr_detection")
LINEAR = "uniform", lambda weight: weight[0].numel() ** -0.5  # torch's: 1 / sqrt(inputs)
# The distribution of each new tensor: the first pattern that is found in its name.
ORIGINAL = {
    r"^text_decoder.*(LayerNorm|layer_norm|adaptor_ln)\.weight|^expert.*ln\w*\.weight": ("ones", None),
    r"^expert.*conv1\.(depth|normal|edge|seg|obj\w+|ocr\w+)\.(2|5|8|11)\.weight": ("ones", None),
    r"^expert_encoder\.conv1.*weight": LINEAR,
    r"^text_decoder.*bias|^expert.*(ln\w*|in_proj|conv1.*|out_proj)[_.]bias": ("zeros", None),
    r"^text_decoder.*weight": ("normal", lambda _: 0.02),
    r"positional_embedding|instance_embedding": ("normal", lambda _: WIDTH**-0.5),
    r"latents": ("normal", lambda _: WIDTH**-0.5),
    r"in_proj_weight": ("uniform", lambda _: math.sqrt(6 / (4 * WIDTH))),  # Xavier's, of (3d, d)
    r"adaptor\.\w+_proj\.weight": LINEAR,
    r"adaptor\.\w+_proj\.bias": ("uniform", lambda _: WIDTH**-0.5),
    r"(out_proj|c_fc|c_proj)\.weight": LINEAR,
    r"c_fc\.bias": ("uniform", lambda _: WIDTH**-0.5),
    r"c_proj\.bias": ("uniform", lambda _: (4 * WIDTH) ** -0.5),
}
MINIATURE = ORIGINAL | {
    r"^text_decoder.*weight": ("normal", lambda _: 0.088),
    r"latents": ("normal", lambda _: 1.0),
    r"in_proj_weight": ("normal", lambda _: 0.0884),
    r"adaptor\.\w+_proj\.weight": ("normal", lambda _: 0.02),
    r"adaptor\.\w+_proj\.bias": ("zeros", None),
}


def new_model(size):
    torch.manual_seed(0)
    known = read_model_size(size)
    vision = replace(known.vision, width=WIDTH, heads=2, layers=2)
    text = replace(known.text, hidden_size=WIDTH, heads=2, layers=2, ffn_size=512, vocab_size=700, max_positions=66)
    return Prismer(PrismerConfig(vision, text, EXPERTS, image_resolution=12 * vision.patch_size), tokenizer=None)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("prismer_base", ORIGINAL),
        ("prismer_large", ORIGINAL),
        ("prismer_huge", ORIGINAL),
        ("prismer_nano", MINIATURE),
    ],
)
def test_every_new_tensor(size, expected):
    for name, weight in new_model(size).named_parameters():
        kind, scale = next(law for pattern, law in expected.items() if re.search(pattern, name))
        largest, many = weight.abs().max().item(), weight.numel() > 1000
        if kind == "zeros":
            assert largest == 0, name
        elif kind == "ones":
            assert (weight == 1).all(), name
        elif kind == "normal":
            assert weight.std().item() == pytest.approx(scale(weight), rel=0.05 if many else 0.3), name
            assert not many or largest > 3 * scale(weight), name
        else:
            assert largest <= scale(weight), name
            assert largest > (0.99 if many else 0.9) * scale(weight), name
            assert weight.std().item() == pytest.approx(scale(weight) / 3**0.5, rel=0.05 if many else 0.3), name
            assert weight.mean().abs().item() < 0.1 * scale(weight) or not many, name
