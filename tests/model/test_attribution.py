"""The sources of words, against a plain computation."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import UserError
from model.attribution import find_attribution
from model.captioning import PrismerCaption
from model.modules.label_map import LabelMap
from model.tokenizer import load_tokenizer
from tests.model import tiny

EXPERTS = ("depth", "seg_scenes", "ocr_detection")
TEXTS = [" two dogs on the beach", " a cat"]
PREFIX = "A picture of"


@pytest.fixture(scope="module")
def model() -> PrismerCaption:
    torch.manual_seed(0)
    config = replace(tiny.CONFIG, experts=EXPERTS, label_resolution=16)
    model = PrismerCaption(config, load_tokenizer(tiny.TOKENIZER)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    return model


@pytest.fixture(scope="module")
def inputs() -> dict[str, Tensor | LabelMap]:
    generator = torch.Generator().manual_seed(1)
    maps = torch.randint(4, (2, 2, 1, 16, 16), generator=generator, dtype=torch.uint8)
    return {
        **tiny.images(2),
        "depth": torch.rand(2, 1, 16, 16, generator=generator),
        "seg_scenes": LabelMap(maps[0], torch.randn(5, 64, generator=generator)),
        "ocr_detection": LabelMap(maps[1], torch.randn(2, 5, 64, generator=generator)),
    }


def find(model, inputs, texts=TEXTS):
    return find_attribution(model, inputs, [model.start_ids(PREFIX)] * len(texts), texts)


def sample(inputs, index):
    """One image of a batch."""

    def of(value):
        if not isinstance(value, LabelMap):
            return value[index : index + 1]
        table = value.table if value.table.dim() == 2 else value.table[index : index + 1]
        return LabelMap(value.index[index : index + 1], table)

    return {name: of(value) for name, value in inputs.items()}


def multi_head(x: Tensor, context: Tensor, query: tuple, key: tuple, heads: int) -> Tensor:
    """Attention weights, averaged over heads: x (l, d), context (m, c), weights and biases -> (l, m)."""
    q, k = (F.linear(y, *layer).unflatten(1, (heads, -1)).transpose(0, 1) for y, layer in ((x, query), (context, key)))
    return (q @ k.mT / q.shape[2] ** 0.5).softmax(dim=-1).mean(dim=0)


@torch.no_grad()
def plain(model: PrismerCaption, inputs: dict, text: str) -> tuple[Tensor, Tensor, list[int]]:
    """Mass of each text token on each of 9 image and 3 * 4 expert tokens, latents' weights, and token ids."""
    encoder, decoder = model.expert_encoder, model.text_decoder.roberta
    x = encoder.label_tokens(inputs)[0]
    latents, shares = encoder.resampler.latents, torch.zeros(64, 12)
    for block in encoder.resampler.perceiver_blocks:
        query, width = block.ln_1(latents), latents.shape[1]
        weights, biases = block.attn.in_proj_weight.split(width), block.attn.in_proj_bias.split(width)
        context = torch.cat([query, block.ln_2(x)])
        row = multi_head(query, context, (weights[0], biases[0]), (weights[1], biases[1]), 8)
        shares = 0.5 * shares + 0.5 * (row[:, :64] @ shares + row[:, 64:])
        latents = block(latents[None], x[None])[0]
    shares = shares / shares.sum(dim=1, keepdim=True)

    start = model.start_ids(PREFIX)
    ids = start + model.tokenizer(text, add_special_tokens=False).input_ids
    encoded = encoder(inputs)
    hidden = decoder["embeddings"](torch.tensor([ids]), torch.arange(2, 2 + len(ids))[None])
    visible = torch.ones(1, len(ids), len(ids), dtype=torch.bool).tril()
    mass, of_latents = torch.zeros(len(ids), 21), torch.zeros(len(ids), 64)
    layers = decoder["encoder"].layer
    for layer in layers:
        attended = layer[0].attend(hidden, visible, None)[0]
        of = layer[1].self
        projections = (of.query.weight, of.query.bias), (of.key.weight, of.key.bias)
        row = multi_head(attended, encoded[0], *projections, model.config.text.heads)
        mass[:, :9] += row[:, :9] / len(layers)
        mass[:, 9:] += row[:, 9:] @ shares / len(layers)
        of_latents += row[:, 9:] / len(layers)
        hidden = layer(hidden, visible, encoded)
    rows = slice(len(start) - 1, len(ids) - 1)
    return mass[rows], of_latents[rows], ids[len(start) :]


def test_against_a_plain_computation(model, inputs):
    for index, (text, found) in enumerate(zip(TEXTS, find(model, inputs), strict=True)):
        assert " ".join(found.words) == text.strip()
        torch.testing.assert_close(sum(found.masses.values()), torch.ones(len(found.words)), rtol=0, atol=1e-5)
        mass, latents, ids = plain(model, sample(inputs, index), text)
        tokens = model.tokenizer.convert_ids_to_tokens(ids)
        begins = [place for place, token in enumerate(tokens) if token.startswith("Ġ")]
        ends = [*begins[1:], len(tokens)]
        assert index or len(tokens) > len(found.words)  # some word has several pieces
        for word, (begin, end) in enumerate(zip(begins, ends, strict=True)):
            wanted = mass[begin:end].mean(dim=0)  # (21,)
            parts = {"rgb": wanted[:9], **dict(zip(EXPERTS, wanted[9:].split(4), strict=True))}
            assert list(found.tokens) == list(parts)
            for name, part in parts.items():
                torch.testing.assert_close(found.tokens[name][word].flatten(), part, rtol=1e-4, atol=1e-6)
                assert float(found.masses[name][word]) == pytest.approx(float(part.sum()), rel=1e-4)
            torch.testing.assert_close(found.latents[word], latents[begin:end].mean(0), rtol=1e-4, atol=1e-6)


def test_an_expert_that_is_left_out_has_no_mass(model, inputs):
    for gone in EXPERTS:
        others = {name: label for name, label in inputs.items() if name != gone}
        for found in find(model, others):
            assert list(found.masses) == ["rgb", *(name for name in EXPERTS if name != gone)]
            total = sum(found.masses.values())
            torch.testing.assert_close(total, torch.ones(len(found.words)), rtol=0, atol=1e-5)
    (alone,) = find(model, {"rgb": inputs["rgb"][:1]}, TEXTS[:1])
    assert (list(alone.masses), alone.latents.shape, alone.without) == (["rgb"], (len(alone.words), 0), {})


@torch.no_grad()
def test_log_probabilities_and_effects(model, inputs):
    found = find(model, inputs)
    names = [None, *EXPERTS]
    for name in names:
        seen = {other: label for other, label in inputs.items() if other != name}
        for index, text in enumerate(TEXTS):
            start = model.start_ids(PREFIX)
            ids = torch.tensor([start + model.tokenizer(text, add_special_tokens=False).input_ids])
            encoded = model.expert_encoder(sample(seen, index))
            logits = model.text_decoder.lm_head(model.text_decoder.read(ids, torch.ones_like(ids), encoded))
            wanted = logits.log_softmax(-1)[0, range(len(start) - 1, ids.shape[1] - 1), ids[0, len(start) :]]
            told = found[index].log_probs if name is None else found[index].without[name]
            assert float(told.sum()) == pytest.approx(float(wanted.sum()), rel=1e-4)
    for each in found:
        assert all(float(effect.abs().max()) > 1e-3 for effect in each.effects.values())


def test_no_text_and_too_much_text(model, inputs):
    empty, other = find(model, inputs, ["", TEXTS[1]])
    assert empty.words == ()
    assert {tuple(mass.shape) for mass in empty.masses.values()} == {(0,)}
    assert len(other.words) == 2
    assert not any(module._forward_pre_hooks for module in model.modules())  # generation does not pay for it
    with pytest.raises(UserError, match="longer than the text tower's 64; shorten it"):
        find(model, inputs, [TEXTS[0], " dogs" * 80])
