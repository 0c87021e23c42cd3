"""Blocks that compute wholly in autocast's type.

autocast casts each float32 weight on its own: the trainable ones once a step, the frozen ones whenever they
are used; it gives norms float32, and so sums of residuals, each of which is cast again for the next product.
Here a block's weights are cast together, the frozen ones once and for all, and it runs without autocast on
inputs of its type: norms and softmax are float32 inside, as torch's kernels are, and give that type.
Parameters, gradients and what is saved stay float32.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from model.prismer import Prismer


def lower_blocks(model: Prismer) -> None:
    """Makes every repeated unit compute in autocast's type where autocast is on.

    Args:
        model: its blocks' `forward` is replaced; names of parameters stay.
    """
    for block in model.blocks():
        if not isinstance(block.forward, _Lowered):
            block.forward = _Lowered(block)


def kept_copies(model: Prismer) -> list[Tensor]:
    """The copies that blocks keep from one forward to the next."""
    lowered = [block.forward for block in model.blocks() if isinstance(block.forward, _Lowered)]
    return [copy for each in lowered for store in (each.frozen, each.inference) for copy in store.copies]


def forget_inference(model: Prismer) -> None:
    """Lets go of what an evaluation has kept: where graphs are replayed, no block notices that it is over."""
    for block in model.blocks():
        if isinstance(block.forward, _Lowered):
            block.forward.inference.forget()


class _Lowered:
    """The forward of a block in autocast's type. It is called for every token: it does little by itself.

    Attributes:
        frozen: copies of the weights that do not train.
        inference: of all of them, while no gradients are asked for.
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
        # Looked up each time: sharding puts gathered ones here, which have the type already.
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
        # In training, a first run under checkpointing asks for no gradients either.
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
        """Keeps nothing."""
        self.copies: tuple[Tensor, ...] = ()
        self._state: tuple | None = None

    def of(self, weights: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
        """The weights, as copies where they have another type."""
        state = 0  # changes when one gets other values, or another place
        for x in weights:
            if x.dtype != dtype:
                state += x._version + x.data_ptr()
        if not state:
            return weights
        if (state, dtype) != self._state:
            other = [x.detach() for x in weights if x.dtype != dtype]
            with torch.inference_mode(False), torch.no_grad():  # they may serve training later
                self.copies = _cast_together(dtype, other)
            self._state = state, dtype
        copies = iter(self.copies)
        return [x if x.dtype == dtype else next(copies) for x in weights]


class _Cast(torch.autograd.Function):
    """Casts weights together, and their gradients back."""

    @staticmethod
    def forward(
        _context: torch.autograd.function.FunctionCtx, dtype: torch.dtype, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        return _cast_together(dtype, weights)

    @staticmethod
    def backward(_context: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_cast_together(torch.float32, gradients)


def _cast_together(dtype: torch.dtype, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Copies of tensors in a type, in one piece of memory."""
    whole = torch.empty(sum(x.numel() for x in tensors), dtype=dtype, device=tensors[0].device)
    parts = whole.split([x.numel() for x in tensors])
    copies = tuple(part.view_as(x) for part, x in zip(parts, tensors, strict=True))
    torch._foreach_copy_(copies, tensors)
    return copies
