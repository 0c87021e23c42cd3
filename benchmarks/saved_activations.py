"""The tensors that a forward pass keeps for the backward pass, counted in bytes; on the device meta without memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from helpers.performance.bf16_blocks import kept_copies
from model.prismer import Prismer

# Functions of the model under autocast on a GPU: these compute in autocast's type,
_LOW = {F.linear, F.conv2d}
# these in float32, and the others in the type of their input.
_FULL = {F.cross_entropy}


class GpuFunctions(TorchFunctionMode):
    """Makes the device meta compute like a GPU: autocast, which torch lacks for meta, and fused attention.

    Args:
        precision: of autocast; float32 means no autocast.
    """

    def __init__(self, precision: torch.dtype) -> None:
        super().__init__()
        self.precision = precision

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is F.scaled_dot_product_attention:
            q, k, v = (self._cast(x, self.precision) for x in args)
            return _attention(q, k, v, **kwargs)
        if function in _LOW:
            args = tuple(self._cast(x, self.precision) for x in args)
        elif function in _FULL:
            args = tuple(self._cast(x, torch.float32) for x in args)
        return function(*args, **kwargs)

    def _cast(self, x: Any, dtype: torch.dtype) -> Any:
        floating = isinstance(x, Tensor) and x.is_floating_point()
        return x.to(dtype) if floating and self.precision != torch.float32 else x


def _attention(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0) -> Tensor:
    """Fused attention with masks; it keeps the same tensors as flash attention, and the mask."""
    bias = None
    if attn_mask is not None:
        # (b, 1, l, m) -> (b, heads, l, m), without memory for the heads
        bias = attn_mask.to(q.dtype).expand(-1, q.shape[1], -1, -1)
    return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, bias, True, dropout_p)[0]


@dataclass
class Saved:
    """Storages that are alive between forward and backward pass, by identity.

    Attributes:
        outside: kept outside of the blocks.
        inputs: of the blocks, which keep nothing else with activation checkpointing.
        blocks: kept by each block.
    """

    outside: dict[int, int] = field(default_factory=dict)
    inputs: dict[int, int] = field(default_factory=dict)
    blocks: list[dict[int, int]] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Bytes without activation checkpointing."""
        everything = dict(self.outside)
        for block in self.blocks:
            everything |= block
        return sum(everything.values())

    @property
    def kept(self) -> int:
        """Bytes with activation checkpointing, between forward and backward pass."""
        return sum((self.outside | self.inputs).values())

    @property
    def checkpointed(self) -> int:
        """Peak bytes with activation checkpointing, while a block runs again."""
        kept = self.outside | self.inputs
        return self.kept + max(sum(size for key, size in block.items() if key not in kept) for block in self.blocks)


@contextmanager
def saved_activations(model: Prismer) -> Iterator[Saved]:
    """Counts the tensors kept by forward passes of a model inside the `with`.

    Parameters, buffers and existing copies of frozen weights do not count.
    """
    saved = Saved()
    alive: list[torch.UntypedStorage] = []  # keeps identities unique
    everything = (*model.parameters(), *model.buffers(), *kept_copies(model))
    own = {x.untyped_storage()._cdata for x in everything}
    place = saved.outside

    def add(counts: dict[int, int], tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            counts[storage._cdata] = storage.nbytes()
            alive.append(storage)

    def pack(tensor: Tensor) -> Tensor:
        add(place, tensor)
        return tensor

    def enter(_block: nn.Module, args: tuple[Any, ...]) -> None:
        nonlocal place
        for value in args:
            if isinstance(value, Tensor):
                add(saved.inputs, value)
        place = {}
        saved.blocks.append(place)

    def leave(*_: Any) -> None:
        nonlocal place
        place = saved.outside

    hooks = [block.register_forward_pre_hook(enter) for block in model.blocks()]
    hooks += [block.register_forward_hook(leave) for block in model.blocks()]
    try:
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            yield saved
    finally:
        for hook in hooks:
            hook.remove()
