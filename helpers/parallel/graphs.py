"""CUDA graphs: forward and backward pass of a training step are recorded, and replayed for later batches.

What a small batch waits for is the host, which starts thousands of kernels a step. A graph is of one shape
of batches; `Prismer.multiple` makes them few. The mean of the texts' losses, the gradient's norm and the
optimizer stay outside.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils import _pytree

from helpers.parallel.activation_checkpointing import ActivationCheckpointing
from helpers.parallel.compilation import MULTIPLE
from model.decoder import Places
from model.modules.label_map import LabelMap
from model.prismer import Prismer

MOST_SHAPES = 8  # each keeps a batch and its gradients


def why_not(accelerator: Accelerator, activation_checkpointing: ActivationCheckpointing) -> str | None:
    """Why training cannot be recorded here; None if it can."""
    if accelerator.device.type != "cuda":
        return "they are a GPU's"
    if accelerator.num_processes > 1:
        return "there are several processes"
    if activation_checkpointing != "none":
        return "activations are checkpointed"
    return None


def record_losses(model: Prismer) -> None:
    """Makes a model, on its GPU and otherwise ready for training, replay graphs of its losses."""
    model.multiple = MULTIPLE
    model.losses_at = _Recorded(model)


class _Losses(nn.Module):
    """`Prismer.losses_at` as a module, whose parameters a graph gives gradients."""

    def __init__(self, model: Prismer, losses_at: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model, self.losses_at = model, losses_at

    def forward(self, *batch: Any) -> Tensor:
        return self.losses_at(*batch)


class _Recorded:
    """`Prismer.losses_at` by graphs; outside of training, and of batches of a shape too many, without."""

    def __init__(self, model: Prismer) -> None:
        self._model, self._losses_at = model, model.losses_at
        self._graphs: dict[tuple, nn.Module] = {}
        self._pool: Any = None  # of memory, shared by all graphs: one at a time is in use

    def __call__(
        self,
        experts: Mapping[str, Tensor | LabelMap],
        ids: Tensor,
        mask: Tensor,
        places: Places,
        instance_indices: Tensor | None = None,
    ) -> Tensor:
        if not (self._model.training and torch.is_grad_enabled() and instance_indices is None):
            return self._losses_at(experts, ids, mask, places, instance_indices)
        batch = (dict(experts), ids, mask, places)
        key = self._key(batch)
        if key not in self._graphs:
            if len(self._graphs) == MOST_SHAPES:
                return self._losses_at(*batch)
            self._graphs[key] = self._record(batch)
        self._keep_gradients()
        return self._graphs[key](*batch)

    def _key(self, batch: tuple) -> tuple:
        """What a graph is for: shapes, precision, and the values of frozen weights, which it has copied."""
        leaves, spec = _pytree.tree_flatten(batch)
        autocast = torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda")
        frozen = (p._version for p in self._model.parameters() if not p.requires_grad)
        return spec, *((x.shape, x.dtype, x.stride()) for x in leaves), autocast, sum(frozen)

    def _record(self, batch: tuple) -> nn.Module:
        """Records a batch's passes. They run meanwhile: running statistics and random state are put back."""
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        batch = _pytree.tree_map(torch.clone, batch)  # the graph's own
        losses = _Losses(self._model, self._losses_at).train()
        buffers = [(x, x.clone()) for x in self._model.buffers()]
        random_state = torch.cuda.get_rng_state()
        precision = torch.get_autocast_dtype("cuda")
        with torch.autocast("cuda", precision, torch.is_autocast_enabled("cuda"), cache_enabled=False):
            graphed = torch.cuda.make_graphed_callables(
                losses, batch, allow_unused_input=True, pool=self._pool
            )
        for buffer, value in buffers:
            buffer.copy_(value)
        torch.cuda.set_rng_state(random_state)
        return graphed

    def _keep_gradients(self) -> None:
        """Gradients that wait for those of more batches leave the graph's memory."""
        for parameter in self._model.parameters():
            if parameter.grad is not None:
                parameter.grad = parameter.grad.clone()
