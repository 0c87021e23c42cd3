"""An optimizer step: gradients of several batches are summed, checked, clipped, and applied or skipped.

Nothing here waits for the device, and no process asks another: all see the same reduced gradients.
"""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

T = TypeVar("T")


class Stepper:
    """Takes the optimizer steps of a model, however it is spread over processes.

    A step whose loss or gradient is not finite is skipped: weights, moments and the optimizer's own count
    of steps stay what they were, on all processes alike.

    Args:
        model: what `prepare_model` returned.
        optimizer: over its trainable parameters, and fused: it then skips a step on the device.
        scaler: of the loss, for float16; disabled otherwise.
        accumulate_steps: batches that make a step; their losses count alike.
        max_grad_norm: longer gradients are shortened to this norm; None: never.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        accumulate_steps: int = 1,
        max_grad_norm: float | None = None,
    ) -> None:
        self.model, self.optimizer, self.scaler = model, optimizer, scaler
        self.accumulate_steps, self.max_grad_norm = accumulate_steps, max_grad_norm
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._of_step, self._last = 1, True  # batches of the present step; whether this is its last one

    def batches(self, batches: Iterable[T], count: int) -> Iterator[T]:
        """Goes through batches, each of which is to be followed by `step`.

        With DDP, gradients are reduced once a step. Sharded ones are after every batch: they would
        have to be kept whole otherwise, and memory is what sharding is for.

        Args:
            batches: those of an epoch, or what is left of it.
            count: how many there are; the last step has fewer where they do not divide evenly.
        """
        for index, batch in enumerate(batches):
            place = index % self.accumulate_steps
            self._of_step = min(self.accumulate_steps, count - (index - place))
            self._last = place + 1 == self._of_step
            local = not self._last and isinstance(self.model, nn.parallel.DistributedDataParallel)
            with self.model.no_sync() if local else nullcontext():
                yield batch

    def step(self, loss: Tensor) -> Tensor | None:
        """Adds the gradient of a batch's loss, a scalar; takes the step, or skips it, after its last batch.

        Returns:
            None before the last batch; else the norm of the gradient before clipping, a scalar on the
            device, which is not finite if the step was skipped.
        """
        # From a loss that is not finite, gradients that are not either go to all processes.
        gradient = torch.where(torch.isfinite(loss), 1 / self._of_step, torch.nan)
        self.scaler.scale(loss).backward(gradient.to(loss.dtype))
        return self._take() if self._last else None

    def _take(self) -> Tensor:
        self.scaler.unscale_(self.optimizer)
        norm = get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        if self.max_grad_norm is not None:
            clip_grads_with_norm_(self.parameters, self.max_grad_norm, norm)
        # Read by torch's fused optimizers, to which an enabled scaler hands its own.
        self.optimizer.found_inf = (~torch.isfinite(norm)).float()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        return norm


class MeanLoss:
    """The mean of losses, without those that are not finite; they stay on the device until it is read."""

    def __init__(self) -> None:
        self.sum: Tensor | float = 0.0
        self.count: Tensor | int = 0

    def add(self, loss: Tensor) -> None:
        """Adds a scalar."""
        finite = torch.isfinite(loss)
        self.sum = self.sum + torch.where(finite, loss, 0.0)
        self.count = self.count + finite

    def mean(self) -> float:
        """The mean so far; waits for the device."""
        return float(self.sum) / max(int(self.count), 1)
