"""Networks with the weights of released files."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from common.errors import UserError
from common.pickles import FETCH, read_torch
from common.weight_checks import check_weights, no_floats

Network = TypeVar("Network", bound=nn.Module)
# The beginning of a name, as a pattern -> the new one: a template, a function of the match, several templates if
# the tensor is split into as many, or none if it is dropped. The first rule that matches holds.
Rules = Mapping[str, str | Callable[[re.Match], str] | tuple[str, ...]]


def released_network(
    path: Path,
    build: Callable[[], Network],
    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
) -> Network:
    """Builds a network with the weights of a file, which are not copied.

    Args:
        path: holds a state dict, or one under "model". Keys may have the prefix "module." of parallel training.
        build: makes the network.
        convert: gives the weights the network's names.

    Raises:
        UserError: the file is missing, damaged, or of another network; the message names a key.
    """
    content = read_torch(path)
    state = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: holds no state dict; fetch it again: {FETCH}")
    check_weights(state, path)
    state = convert({name.removeprefix("module."): value for name, value in state.items()})
    with torch.device("meta"):
        network = build()
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in state.items()}
    if differing := sorted({key for key, _ in expected.items() ^ given.items()}):
        key = differing[0]
        raise UserError(
            f"{path}: weights of another network ({len(differing)} keys differ; '{key}' is "
            f"{given.get(key, 'missing')}, expected {expected.get(key, 'none')}); fetch it again: {FETCH}"
        )
    if others := no_floats(state, network.state_dict()):
        raise UserError(f"{path}: weights of another kind ({others[0]}); fetch it again: {FETCH}")
    network.load_state_dict(state, assign=True)
    return network.requires_grad_(False).eval()


def renamed(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Renames, splits and drops tensors; unknown ones stay as they are."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        names = new_names(name, rules)
        found |= zip(names, value.chunk(len(names)) if len(names) > 1 else [value] * len(names), strict=True)
    return found


def new_names(name: str, rules: Rules) -> tuple[str, ...]:
    """The names of a tensor after `renamed`."""
    for pattern, new in rules.items():
        if match := re.match(rf"{pattern}(?=\.|$)", name):
            templates = (new(match),) if callable(new) else (new,) if isinstance(new, str) else new
            return tuple(match.expand(template) + name[match.end() :] for template in templates)
    return (name,)
