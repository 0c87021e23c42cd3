"""Captioning beyond the original's numbers."""

import pytest
import torch

from common.errors import UserError
from model.captioning import PrismerCaption
from model.prismer import CutTexts
from model.tokenizer import load_tokenizer
from tests.model import tiny

PREFIX = "A picture of"
CAPTIONS = ["A picture of a dog", "A picture of two cats on the grass"]


@pytest.mark.parametrize("prefix", ["", PREFIX])
def test_lengths_count_the_prefix(prefix):
    model = tiny.build(PrismerCaption, end=6.0)
    start = len(model.start_ids(prefix))
    seen = []
    decode = model.tokenizer.batch_decode
    model.tokenizer.batch_decode = lambda ids, **kw: seen.append(ids) or decode(ids, **kw)
    model.generate(tiny.images(8), prefix, max_length=12, min_length=9)
    tokens = (seen[0] != 1).sum(dim=1) - (seen[0] == 2).sum(dim=1) + start
    assert tokens.min() >= 9
    assert tokens.max() <= 12
    assert tokens.min() < 12


def test_several_captions_of_an_image_are_as_many_samples_of_it():
    model = tiny.build(PrismerCaption)
    images = tiny.images(2)
    captions = [CAPTIONS[0], CAPTIONS[1], CAPTIONS[1], CAPTIONS[0]]
    repeated = {"rgb": images["rgb"].repeat_interleave(2, dim=0)}
    rows = []
    for layer in model.text_decoder.roberta["encoder"].layer:
        layer[1].self.key.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    loss = model(images, captions, PREFIX)
    assert rows == [2, 2]  # by layer: the image's keys are made once for all of its captions
    torch.testing.assert_close(loss, model(repeated, captions, PREFIX))


def test_learns_captions_by_heart():
    torch.manual_seed(0)
    model = PrismerCaption(tiny.CONFIG, load_tokenizer(tiny.TOKENIZER))
    images = tiny.images(2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        model(images, CAPTIONS, PREFIX).backward()
        optimizer.step()
    assert model.eval().generate(images, PREFIX, min_length=0) == ["a dog", "two cats on the grass"]


def test_under_bfloat16_autocast():
    model = tiny.build(PrismerCaption)
    images = tiny.images(2)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(images, CAPTIONS, PREFIX)
        captions = model.generate(images, PREFIX)
        ranking = model.rank(images, ["a dog", "a horse on the street"], 2, PREFIX)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(model(images, CAPTIONS, PREFIX).item(), rel=0.02)
    assert len(captions) == 2
    exact = model.rank(images, ["a dog", "a horse on the street"], 2, PREFIX)
    torch.testing.assert_close(ranking.scores.sort().values, exact.scores.sort().values, rtol=0.03, atol=0)


def test_long_captions_are_cut_by_their_tokens_and_counted():
    model, images = tiny.build(PrismerCaption), tiny.images(3)
    captions = ["a dog", "a dog " * 3, "a dog " * 40]
    counts = []
    for limit in (30, 10, 5):
        loss = model(images, [f"{PREFIX} {caption}" for caption in captions], PREFIX, max_tokens=limit + 5)
        counts.append(model.cut_texts)
        cut = [model.tokenizer(f"{PREFIX} {caption}").input_ids for caption in captions]
        kept = [ids if len(ids) <= limit + 5 else [*ids[: limit + 4], 2] for ids in cut]
        texts = [model.tokenizer.decode(ids[1:-1]) for ids in kept]
        torch.testing.assert_close(loss, model(images, texts, PREFIX, max_tokens=60))
        model.cut_texts = CutTexts()
    assert counts == [CutTexts(35, 3, 1), CutTexts(15, 3, 1), CutTexts(10, 3, 2)]


def test_prefix_longer_than_the_caption_may_be():
    with pytest.raises(UserError, match="max_length 4 is no more than the prefix 'A picture of'"):
        tiny.build(PrismerCaption).generate(tiny.images(1), PREFIX, max_length=4)
    with pytest.raises(UserError, match="leaves no room in the 30 tokens of a training caption"):
        tiny.build(PrismerCaption)(tiny.images(1), ["a dog"], "a long prefix " * 10)
