"""Blocks that compute in autocast's type throughout.

autocast casts each float32 weight by itself: trainable weights once a step, frozen ones at each use. It runs
norms in float32, so sums of residuals are float32 too, and each product casts them again. Here a block casts
its weights together (frozen ones once and for all), and runs without autocast on inputs of its type. Norms and
softmax still compute in float32 inside, as torch's kernels do. Parameters, gradients and checkpoints stay
float32.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from model.prismer import Prismer


def lower_blocks(model: Prismer) -> None:
    """Makes every repeated unit compute in autocast's type, while autocast is on.

    Args:
        model: its blocks' `forward` is replaced; names of parameters stay.
    """
    for block in model.blocks():
        if not isinstance(block.forward, _Lowered):
            block.forward = _Lowered(block)


def kept_copies(model: Prismer) -> list[Tensor]:
    """The copies of weights that blocks keep from one forward pass to the next."""
    return [copy for each in _lowered(model) for store in (each.frozen, each.inference) for copy in store.copies]


def forget_inference(model: Prismer) -> None:
    """Drops the copies of an evaluation. Where graphs are replayed, blocks do not notice its end themselves."""
    for each in _lowered(model):
        each.inference.forget()


def _lowered(model: Prismer) -> "list[_Lowered]":
    return [block.forward for block in model.blocks() if isinstance(block.forward, _Lowered)]


class _Lowered:
    """The forward of a block in autocast's type. Generation calls it for every token, so it does little itself.

    Attributes:
        frozen: copies of the frozen weights.
        inference: copies of all weights, used without gradients.
    """

    def __init__(self, block: nn.Module) -> None:
        self.block, self.forward = block, block.forward
        self.frozen, self.inference = _Copies(), _Copies()
        self._places = [(module._parameters, name) for module in block.modules() for name in module._parameters]

    def __call__(self, *args: Any) -> Tensor:
        device = args[0].device.type
        if not torch.is_autocast_enabled(device):
            return self.forward(*args)
        dtype = torch.get_autocast_dtype(device)
        # Looked up at each call: sharding puts gathered weights here, which have the type already.
        weights = [parameters[name] for parameters, name in self._places]
        args = [x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x for x in args]
        self._put(self._cast(weights, dtype))
        torch.set_autocast_enabled(device, False)
        try:
            return self.forward(*args)
        finally:
            torch.set_autocast_enabled(device, True)
            self._put(weights)

    def _put(self, weights: Sequence[Tensor]) -> None:
        for (parameters, name), weight in zip(self._places, weights, strict=True):
            parameters[name] = weight

    def _cast(self, weights: list[Tensor], dtype: torch.dtype) -> Sequence[Tensor]:
        """The weights in a type."""
        # In training, the first run of a checkpointed block has no gradients either, but keeps no copies.
        if not (torch.is_grad_enabled() or self.block.training):
            return self.inference.of(weights, dtype)
        self.inference.forget()
        trainable = [place for place, x in enumerate(weights) if x.requires_grad and x.dtype != dtype]
        frozen = iter(self.frozen.of([x for x in weights if not x.requires_grad], dtype))
        copies = _Cast.apply(dtype, *(weights[place] for place in trainable)) if trainable else ()
        lowered = dict(zip(trainable, copies, strict=True))
        return [lowered.get(place, x) if x.requires_grad else next(frozen) for place, x in enumerate(weights)]


class _Copies:
    """Copies of weights in another type, kept until the weights change."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.copies: tuple[Tensor, ...] = ()
        self._state: tuple | None = None

    def of(self, weights: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
        """The weights, with copies of those in another type."""
        # Changes when a weight gets other values or other memory.
        state = sum(x._version + x.data_ptr() for x in weights if x.dtype != dtype)
        if not state:
            return weights
        if (state, dtype) != self._state:
            other = [x.detach() for x in weights if x.dtype != dtype]
            with torch.inference_mode(False), torch.no_grad():  # the copies may serve training later
                self.copies = _cast_together(dtype, other)
            self._state = state, dtype
        copies = iter(self.copies)
        return [x if x.dtype == dtype else next(copies) for x in weights]


class _Cast(torch.autograd.Function):
    """Casts weights together, and their gradients back."""

    @staticmethod
    def forward(_context: Any, dtype: torch.dtype, *weights: Tensor) -> tuple[Tensor, ...]:
        return _cast_together(dtype, weights)

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_cast_together(torch.float32, gradients)


def _cast_together(dtype: torch.dtype, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Copies of tensors in a type, in one piece of memory."""
    whole = torch.empty(sum(x.numel() for x in tensors), dtype=dtype, device=tensors[0].device)
    parts = whole.split([x.numel() for x in tensors])
    copies = tuple(part.view_as(x) for part, x in zip(parts, tensors, strict=True))
    torch._foreach_copy_(copies, tensors)
    return copies
