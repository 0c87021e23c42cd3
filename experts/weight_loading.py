"""The weights of a released file in a network that was built without memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from common.errors import UserError
from common.pickles import FETCH, read_torch
from common.weight_checks import check_weights, no_floats

Network = TypeVar("Network", bound=nn.Module)


def released_network(
    path: Path,
    build: Callable[[], Network],
    key: str = "",
    rename: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
) -> Network:
    """Builds a network with the weights of a released file.

    Args:
        path: the file.
        build: makes the network.
        key: the place of the state dict in the file, if it has others; else it is the content.
        rename: gives the weights the network's names.

    Raises:
        UserError: the file is missing, damaged, or of another network.
    """
    state = rename(state_dict(read_torch(path), path, key))
    with torch.device("meta"):
        network = build()
    load_weights(network, state, path)
    return network.eval()


def load_weights(network: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Gives a network, which may be on the meta device, the tensors of a state dict without a copy.

    Args:
        network: the network.
        state: a tensor for each of its keys, and no others.
        path: the file, for the message.

    Raises:
        UserError: the weights are those of another network; names a key.
    """
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in state.items()}
    differing = sorted({key for key, _ in expected.items() ^ given.items()})
    if differing:
        key = differing[0]
        raise UserError(
            f"{path}: weights of another network ({len(differing)} keys differ; '{key}' is "
            f"{given.get(key, 'missing')}, expected {expected.get(key, 'none')}); fetch it again: {FETCH}"
        )
    if others := no_floats(state, network.state_dict()):
        raise UserError(f"{path}: weights of another kind ({others[0]}); fetch it again: {FETCH}")
    network.load_state_dict(state, assign=True)


def state_dict(content: Any, path: Path, key: str = "") -> dict[str, Tensor]:
    """The state dict in a file, without the prefix that parallel training adds to its keys.

    Args:
        content: the content of the file.
        path: the file, for the message.
        key: its place in the content; "" if it is the content.

    Raises:
        UserError: there is none, or it has values that are not finite.
    """
    state = content.get(key) if key and isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: holds no state dict; fetch it again: {FETCH}")
    check_weights(state, path)
    return {name.removeprefix("module."): value for name, value in state.items()}
