"""The text decoder beyond the original's numbers."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from model.decoder import IGNORE, TextDecoder, loss_places
from model.modules.roberta import PostNorm, TextAttention
from tests.model import tiny


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    return TextDecoder(tiny.CONFIG)


def assert_tied(decoder):
    assert decoder.lm_head.decoder.weight is decoder.roberta["embeddings"].word_embeddings.weight
    assert decoder.lm_head.decoder.bias is decoder.lm_head.bias


def test_tied_weights_stay_tied(decoder):
    assert_tied(decoder)
    assert_tied(copy.deepcopy(decoder))
    with torch.device("meta"):
        empty = TextDecoder(tiny.CONFIG)
    assert_tied(empty.to_empty(device="cpu"))
    assert not any(value.is_meta for value in empty.state_dict().values())
    empty.load_state_dict(decoder.state_dict(), assign=True)
    assert_tied(empty)
    torch.testing.assert_close(empty.lm_head.decoder.weight, decoder.lm_head.decoder.weight)


def test_released_position_ids_are_taken_and_not_read(decoder):
    state = decoder.state_dict()
    name = "roberta.embeddings.position_ids"
    assert state[name].tolist() == [list(range(66))]
    ids, encoded = torch.arange(5, 10)[None], torch.randn(1, 4, 64)
    before = decoder.eval().read(ids, torch.ones_like(ids), encoded)
    decoder.load_state_dict(state | {name: torch.zeros_like(state[name])})
    torch.testing.assert_close(decoder.read(ids, torch.ones_like(ids), encoded), before)


def test_pads_change_nothing(decoder):
    decoder.eval()
    encoded = torch.randn(1, 4, 64)
    ids = torch.tensor([[0, 7, 8, 9]])
    plain = decoder.read(ids, torch.ones_like(ids), encoded)[0]
    padded = torch.tensor([[1, 0, 7, 1, 1, 8, 9, 1]])
    out = decoder.read(padded, (padded != 1).long(), encoded)[0]
    torch.testing.assert_close(out[[1, 2, 5, 6]], plain)
    assert out.isfinite().all()


def test_no_token_sees_a_later_one(decoder):
    decoder.eval()
    encoded = torch.randn(1, 4, 64)
    ids = torch.tensor([[0, 7, 8, 9]])
    changed = torch.tensor([[0, 7, 8, 30]])
    out, other = (decoder.read(x, torch.ones_like(x), encoded)[0] for x in (ids, changed))
    torch.testing.assert_close(out[:3], other[:3])
    assert not torch.allclose(out[3], other[3])


def test_loss_counts_targets_alone(decoder):
    decoder.eval()
    encoded = torch.randn(3, 4, 64)
    ids = torch.randint(5, 100, (3, 6))
    ids[1, 3] = -IGNORE  # a token like any other
    targets = ids.clone()
    targets[0, :4] = IGNORE
    targets[2] = IGNORE
    losses = decoder.loss(ids, torch.ones_like(ids), loss_places(targets), encoded)
    log_probs = decoder.lm_head(decoder.read(ids, torch.ones_like(ids), encoded)).log_softmax(dim=-1)
    expected = [
        -sum(
            0.9 * log_probs[row, column - 1, ids[row, column]] + 0.1 * log_probs[row, column - 1].mean()
            for column in range(start, 6)
        )
        for row, start in ((0, 4), (1, 1))
    ]
    torch.testing.assert_close(losses, torch.stack([*expected, torch.tensor(0.0)]))


@pytest.mark.parametrize("only", ["attention", "sums", "embeddings"])
def test_dropout_is_the_configurations_and_acts_in_training_only(only):
    decoder = TextDecoder(replace(tiny.CONFIG, text=replace(tiny.CONFIG.text, dropout=0.25)))
    assert {part.p for part in decoder.modules() if isinstance(part, nn.Dropout)} == {0.25}
    assert {part.dropout for part in decoder.modules() if isinstance(part, TextAttention)} == {0.25}
    for part in decoder.modules():
        if isinstance(part, TextAttention):
            part.dropout = 0.5 * (only == "attention")
        elif isinstance(part, PostNorm):
            part.dropout.p = 0.5 * (only == "sums")
    decoder.roberta["embeddings"].dropout.p = 0.5 * (only == "embeddings")
    ids, encoded = torch.arange(5, 10)[None], torch.randn(1, 4, 64)

    def read():
        return decoder.read(ids, torch.ones_like(ids), encoded)

    assert not torch.equal(read(), read())
    decoder.eval()
    assert torch.equal(read(), read())
