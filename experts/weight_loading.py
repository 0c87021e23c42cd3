"""Networks with the weights of released files."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from common.errors import UserError
from common.pickles import FETCH, read_torch
from common.weight_checks import check_weights, no_floats

Network = TypeVar("Network", bound=nn.Module)


def released_network(
    path: Path,
    build: Callable[[], Network],
    rename: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
) -> Network:
    """Builds a network with the weights of a file, which are not copied.

    Args:
        path: holds a state dict, or one under "model". Keys may have the prefix "module." of parallel training.
        build: makes the network.
        rename: gives the weights the network's names.

    Raises:
        UserError: the file is missing, damaged, or of another network; the message names a key.
    """
    content = read_torch(path)
    state = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: holds no state dict; fetch it again: {FETCH}")
    check_weights(state, path)
    state = rename({name.removeprefix("module."): value for name, value in state.items()})
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
