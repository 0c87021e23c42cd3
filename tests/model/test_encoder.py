"""The expert encoder beyond the original's numbers."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from common.errors import UserError
from model.config import PrismerConfig, TextConfig, VisionConfig
from model.encoder import ExpertEncoder, fixed_instance_indices, patch_tokens, tokens
from model.modules.label_map import LabelMap
from model.modules.mlp import quick_gelu
from model.modules.positions import resize_positions

TINY = PrismerConfig(
    vision=VisionConfig(width=32, layers=1, heads=2, patch_size=8),
    text=TextConfig(hidden_size=32, layers=1, heads=2, ffn_size=64),
    experts=("depth", "obj_detection"),
    image_resolution=24,
    label_resolution=16,
)


def random_inputs(batch: int = 2, ids: int = 5) -> dict[str, torch.Tensor | LabelMap]:
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(ids, (batch, 1, 16, 16), generator=generator, dtype=torch.uint8)
    return {
        "rgb": torch.randn(batch, 3, 24, 24, generator=generator),
        "depth": torch.rand(batch, 1, 16, 16, generator=generator),
        "obj_detection": LabelMap(index, torch.randn(batch, ids + 1, 64, generator=generator)),
    }


def first(inputs: dict) -> dict:
    """The first sample of a batch."""
    detection = LabelMap(*(part[:1] for part in inputs["obj_detection"]))
    return {name: x[:1] for name, x in inputs.items() if name != "obj_detection"} | {"obj_detection": detection}


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return ExpertEncoder(TINY)


@torch.no_grad()
def test_an_expert_without_a_label_has_no_tokens(encoder):
    encoder.eval()
    inputs = random_inputs()
    alone = {name: x for name, x in inputs.items() if name != "obj_detection"}
    depth, rgb = (encoder._placed(tokens(encoder.conv1[name](inputs[name]))) for name in ("depth", "rgb"))
    sequence = torch.cat([rgb, encoder.resampler(depth)], dim=1)
    wanted = encoder.ln_post(encoder.transformer(encoder.ln_pre(sequence)))
    torch.testing.assert_close(encoder(alone), wanted)
    wanted = encoder.ln_post(encoder.transformer(encoder.ln_pre(rgb)))
    torch.testing.assert_close(encoder({"rgb": inputs["rgb"]}), wanted)


@torch.no_grad()
def test_evaluation_repeats_and_does_not_depend_on_the_batch(encoder):
    encoder.eval()
    inputs = random_inputs()
    torch.manual_seed(1)
    out = encoder(inputs)
    torch.manual_seed(2)
    assert torch.equal(encoder(inputs), out)
    torch.testing.assert_close(encoder(first(inputs)), out[:1], rtol=1e-5, atol=1e-5)


def test_training_draws_instance_rows_from_the_default_generator(encoder):
    inputs = random_inputs()
    torch.manual_seed(1)
    out = encoder(inputs)
    assert not torch.equal(encoder(inputs), out)
    torch.manual_seed(1)
    assert torch.equal(encoder(inputs), out)


def test_evaluation_gives_each_instance_id_a_row_that_never_changes():
    """Answers to one image would change with them, from version to version."""
    indices = fixed_instance_indices(torch.device("cpu"))
    assert indices.shape == (256,)
    assert len(set(indices.tolist())) > 100  # of 128 rows
    assert indices[:6].tolist() == [44, 47, 117, 64, 67, 123]


@torch.no_grad()
def test_the_caller_may_choose_instance_rows(encoder):
    encoder.eval()
    inputs = random_inputs()
    zeros, ones = torch.zeros(256, dtype=torch.int64), torch.ones(256, dtype=torch.int64)
    ones_for_absent_ids = torch.where(torch.arange(256) < 5, zeros, ones)
    out = encoder(inputs, zeros)
    assert torch.equal(encoder(inputs, ones_for_absent_ids), out)
    assert not torch.equal(encoder(inputs, ones), out)


def test_every_parameter_gets_a_gradient(encoder):
    encoder(random_inputs())[..., 0].square().sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("side", [24, 29])
def test_patches_as_a_product_are_those_of_the_convolution(side):
    torch.manual_seed(0)
    layer, x = nn.Conv2d(3, 32, 8, 8, bias=False), torch.randn(2, 3, side, side)
    expected, found = tokens(layer(x)), patch_tokens(layer, x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    weights = torch.randn_like(expected)
    wanted, gradient = (torch.autograd.grad((y * weights).sum(), layer.weight) for y in (expected, found))
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bf16", [False, True])
def test_positions_of_labels_are_resized_in_float32_and_learn(encoder, bf16):
    table = encoder.positional_embedding
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        found = encoder._placed(torch.zeros(4, 32))
    expected = resize_positions(table, 2)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    weights = torch.randn(4, 32)
    (gradient,) = torch.autograd.grad((found * weights).sum(), table)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), table)
    torch.testing.assert_close(gradient, wanted, rtol=1e-5, atol=1e-6)


def test_resize_positions_is_bicubic_and_keeps_its_own_size():
    table = torch.randn(16, 8)
    assert torch.equal(resize_positions(table, 4), table)
    plane = F.interpolate(table.view(4, 4, 8).permute(2, 0, 1)[None], size=(6, 6), mode="bicubic")
    assert torch.equal(resize_positions(table, 6), plane[0].permute(1, 2, 0).reshape(36, 8))


@pytest.mark.parametrize(("compat", "heads", "activation"), [(False, 16, F.gelu), (True, 20, quick_gelu)])
def test_huge_is_openclips_and_with_compat_the_originals(compat, heads, activation):
    vision = VisionConfig(width=1280, layers=1, heads=16, patch_size=14, activation="gelu")
    with torch.device("meta"):
        encoder = ExpertEncoder(replace(TINY, vision=vision, label_resolution=224, compat=compat))
    block = encoder.transformer.resblocks[0][0]
    assert (block.attn.heads, block.mlp.activation) == (heads, activation)


def test_label_resolution_must_fit_the_patches():
    with pytest.raises(UserError, match=r"label_resolution 20 .* patch size 8"):
        ExpertEncoder(replace(TINY, label_resolution=20))
