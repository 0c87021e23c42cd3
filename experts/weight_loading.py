"""Weights from a file into a network that was built without memory of its own."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from common.errors import UserError
from common.pickles import FETCH
from common.weight_checks import check_weights, no_floats


def load_weights(network: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Gives a network the tensors of a state dict, all of them and no others.

    Args:
        network: may be on the meta device; it takes the tensors as they are, without a copy.
        state: the tensors, by the network's names.
        path: the file, for the message.

    Raises:
        UserError: they are another network's; the message names a key.
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
    """The state dict in a file's content, without the prefix that parallel training gives its keys.

    Args:
        content: what the file held.
        path: the file, for the message.
        key: where in the content it lies; "" means that it is the content.

    Raises:
        UserError: there is none, or values in it are not finite.
    """
    state = content.get(key) if key and isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: holds no state dict; fetch it again: {FETCH}")
    check_weights(state, path)
    return {name.removeprefix("module."): value for name, value in state.items()}
