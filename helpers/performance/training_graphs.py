"""CUDA graphs of training: forward and backward pass are recorded, and replayed for later batches.

Without graphs a small batch waits for the host, which launches thousands of kernels a step. Each shape of
batches needs its graph; `Prismer.multiple` keeps the shapes few. The mean of the texts' losses, the gradient's
norm and the optimizer stay outside.
"""

from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils import _pytree

from helpers.performance.bf16_blocks import forget_inference
from helpers.performance.compilation import MULTIPLE
from helpers.performance.cuda_graphs import capture, fixed_shapes, recordable, warm_up
from helpers.training.distribution.activation_checkpointing import ActivationCheckpointing
from model.decoder import Places
from model.inputs import Inputs
from model.prismer import Prismer

MOST_SHAPES = 8  # each graph keeps a batch and its gradients


def why_not(accelerator: Accelerator, activation_checkpointing: ActivationCheckpointing) -> str | None:
    """The reason why training cannot be recorded; None if it can."""
    if accelerator.device.type != "cuda":
        return "they need a GPU"
    if accelerator.num_processes > 1:
        return "there are several processes"
    if activation_checkpointing != "none":
        return "activations are checkpointed"
    return None


def record_losses(model: Prismer) -> None:
    """Makes a model replay graphs of its losses. It must be on its GPU and otherwise ready for training."""
    model.multiple = MULTIPLE
    model.losses_at = _Recorded(model)


class _Recorded:
    """`Prismer.losses_at` by graphs, in training; the first `MOST_SHAPES` shapes have graphs, others run without."""

    def __init__(self, model: Prismer) -> None:
        self._model, self._losses_at = model, model.losses_at
        self._steps: dict[tuple, _Step] = {}
        self._pool = torch.cuda.graph_pool_handle()  # shared, because one graph runs at a time

    def __call__(
        self,
        inputs: Inputs,
        ids: Tensor,
        mask: Tensor,
        places: Places,
        instance_indices: Tensor | None = None,
    ) -> Tensor:
        if not (self._model.training and torch.is_grad_enabled() and instance_indices is None):
            return self._losses_at(inputs, ids, mask, places, instance_indices)
        forget_inference(self._model)
        batch = (fixed_shapes(inputs), ids, mask, places)
        key = self._key(batch)
        if key not in self._steps:
            if len(self._steps) == MOST_SHAPES:
                return self._losses_at(*batch)
            self._steps[key] = self._record(batch)
        return self._steps[key](batch)

    def _key(self, batch: tuple) -> tuple:
        """A graph's key: shapes, precision, and the version of frozen weights, which the graph has copied."""
        leaves, spec = _pytree.tree_flatten(batch)
        autocast = torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda")
        frozen = (p._version for p in self._model.parameters() if not p.requires_grad)
        return spec, *((x.shape, x.dtype, x.stride()) for x in leaves), autocast, sum(frozen)

    def _record(self, batch: tuple) -> "_Step":
        """Records the passes of a batch. They run once, so running statistics and random state are restored."""
        buffers = [(x, x.clone()) for x in self._model.buffers()]
        random_state = torch.cuda.get_rng_state()
        with recordable():
            step = _Step(self._losses_at, list(self._model.parameters()), batch, self._pool)
        for buffer, value in buffers:
            buffer.copy_(value)
        torch.cuda.set_rng_state(random_state)
        return step


class _Step:
    """The recorded passes of batches of one shape.

    `torch.cuda.make_graphed_callables` would hand hundreds of gradients to autograd one by one, on another
    stream, and overwrite gradients that accumulate over batches.
    """

    def __init__(
        self, losses_at: Callable[..., Tensor], parameters: list[nn.Parameter], batch: tuple, pool: Any
    ) -> None:
        self._batch = _pytree.tree_map(torch.clone, batch)
        self._parameters = [p for p in parameters if p.requires_grad]
        # autograd calls `backward` only if some input needs a gradient.
        self._anchor = torch.zeros((), device=batch[1].device, requires_grad=True)
        self._gradient = torch.ones(len(batch[1]), device=batch[1].device)
        losses: Tensor

        def forward() -> Tensor:
            nonlocal losses
            losses = losses_at(*self._batch)
            return losses.detach()

        def backward() -> list[Tensor | None]:
            found = torch.autograd.grad(losses, self._parameters, self._gradient, allow_unused=True)
            return [_laid_out(*pair) for pair in zip(found, self._parameters, strict=True)]

        for _ in range(2):  # the first one compiles
            warm_up(lambda: (forward(), backward()))
        self._forward, self._losses = capture(forward, pool)
        self._backward, self._gradients = capture(backward, pool)

    def __call__(self, batch: tuple) -> Tensor:
        places, values = _pytree.tree_leaves(self._batch), _pytree.tree_leaves(batch)
        torch._foreach_copy_(places, values)
        return _Replay.apply(self._anchor, self)

    def forward(self) -> Tensor:
        """The losses, float32 (q,)."""
        self._forward()
        return self._losses.clone()

    def backward(self, gradient: Tensor) -> None:
        """Adds to the parameters' gradients."""
        self._gradient.copy_(gradient)
        before = [None if p.grad is None else p.grad.clone() for p in self._parameters]
        self._backward()
        for parameter, found, old in zip(self._parameters, self._gradients, before, strict=True):
            if found is not None:
                parameter.grad = found if old is None else found.add_(old)
            elif old is not None:
                parameter.grad = old


def _laid_out(gradient: Tensor | None, parameter: Tensor) -> Tensor | None:
    """A gradient in its parameter's memory format, which fused optimizers need."""
    if gradient is None or gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


class _Replay(torch.autograd.Function):
    """Calls a step's passes when autograd does."""

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, _anchor: Tensor, step: _Step) -> Tensor:
        context.step = step
        return step.forward()

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[None, None]:
        context.step.backward(gradient)
        return None, None
