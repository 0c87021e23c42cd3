"""Tensors from files into networks."""

from pathlib import Path

import pytest
import torch
from torch import nn

from common.errors import UserError
from experts.weight_loading import load_weights, state_dict

PATH = Path("weights/net.pt")


def network() -> nn.Module:
    with torch.device("meta"):
        return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def test_a_network_without_memory_takes_the_tensors_themselves():
    state = {key: torch.ones(value.shape, dtype=value.dtype) for key, value in network().state_dict().items()}
    loaded = network()
    load_weights(loaded, state, PATH)
    assert loaded[0].weight.data_ptr() == state["0.weight"].data_ptr()
    assert loaded(torch.ones(1, 3, 2, 2)).shape == (1, 4, 2, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("1.bias"), r"1 keys differ; '1\.bias' is missing, expected \(4,\)"),
        (lambda state: state.update(more=torch.ones(2)), r"'more' is \(2,\), expected none"),
        (
            lambda state: state.update({"0.bias": torch.ones(5)}),
            r"'0\.bias' is \(5,\), expected \(4,\)",
        ),
    ],
)
def test_another_networks_are_one_line_with_a_key(change, message):
    state = {key: torch.ones(value.shape) for key, value in network().state_dict().items()}
    change(state)
    with pytest.raises(UserError, match=rf"^weights/net\.pt: weights of another network .*{message}") as error:
        load_weights(network(), state, PATH)
    assert "\n" not in str(error.value)
    assert "download_checkpoints.py" in str(error.value)


def test_the_prefix_of_parallel_training_goes():
    inner = {"module.a": torch.ones(1), "b": torch.ones(2)}
    assert list(state_dict({"model": inner, "epoch": 3}, PATH, "model")) == ["a", "b"]
    assert list(state_dict(inner, PATH)) == ["a", "b"]


def test_values_that_no_network_has_are_one_line():
    with pytest.raises(UserError, match=r"^weights/net\.pt: 'module\.a' holds values that are not finite"):
        state_dict({"module.a": torch.tensor([1, torch.nan])}, PATH)
    state = {key: torch.ones(value.shape) for key, value in network().state_dict().items()}
    with pytest.raises(UserError, match=r"^weights/net\.pt: .*'0\.bias' is int8, not floating-point"):
        load_weights(network(), state | {"0.bias": state["0.bias"].to(torch.int8)}, PATH)


@pytest.mark.parametrize("content", [[1], {"model": {"a": 1}}, {"other": {"a": torch.ones(1)}}, {}])
def test_what_is_no_state_dict_is_one_line(content):
    with pytest.raises(UserError, match=r"^weights/net\.pt: holds no state dict"):
        state_dict(content, PATH, "model")
