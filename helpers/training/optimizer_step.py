"""An optimizer step: gradients of several batches are summed, checked, clipped, and applied or skipped.

Nothing here waits for the device. Processes ask one another for one number, how many samples a step has; all
see the same reduced gradients.
"""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import TypeVar

import torch
from accelerate.utils import find_batch_size
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from helpers.training.distribution.sharding import local

T = TypeVar("T")


class Stepper:
    """Takes the optimizer steps of a model, however it is spread over processes.

    The gradient of a step is that of the mean loss of its samples, of all its batches and processes. They may
    have any sizes, as at the end of an epoch.

    A step whose loss or gradient is not finite is skipped: weights, moments and the optimizer's own count
    of steps stay what they were, on all processes alike.

    Args:
        model: what `prepare_model` returned.
        optimizer: over its trainable parameters, and fused: it then skips a step on the device.
        scaler: of the loss, for float16; disabled otherwise.
        accumulate_steps: batches that make a step.
        max_grad_norm: longer gradients are shortened to this norm; None: never.
        batch_size: samples of most batches, the same on all processes. It keeps the numbers of a backward
            pass at the size of those of a mean, which matters to float16 alone.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        accumulate_steps: int = 1,
        max_grad_norm: float | None = None,
        batch_size: int = 1,
    ) -> None:
        self.model, self.optimizer, self.scaler = model, optimizer, scaler
        self.accumulate_steps, self.max_grad_norm = accumulate_steps, max_grad_norm
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        # Both make a gradient the mean of those of all processes.
        self._is_spread = isinstance(model, nn.parallel.DistributedDataParallel | FSDPModule)
        self._usual = batch_size * accumulate_steps  # samples of a process in most steps
        self.samples = 1  # of the present batch
        self._of_step = 1  # samples of the present step so far
        self._last = True  # whether the present batch is the step's last

    def batches(self, batches: Iterable[T], count: int) -> Iterator[T]:
        """Goes through batches, each of which is to be followed by `step`.

        With DDP, gradients are reduced once a step. Sharded ones are after every batch: they would
        have to be kept whole otherwise, and memory is what sharding is for.

        Args:
            batches: those of an epoch, or what is left of it: tensors, or tuples and mappings of them, whose
                first has a row for each sample.
            count: how many there are; the last step has fewer where they do not divide evenly.
        """
        for index, batch in enumerate(batches):
            first = index % self.accumulate_steps == 0
            self.samples = find_batch_size(batch)
            self._of_step = self.samples + (0 if first else self._of_step)
            self._last = (index + 1) % self.accumulate_steps == 0 or index + 1 == count
            local = not self._last and isinstance(self.model, nn.parallel.DistributedDataParallel)
            with self.model.no_sync() if local else nullcontext():
                yield batch

    def step(self, loss: Tensor) -> Tensor | None:
        """Adds the gradient of a batch's loss; takes the step, or skips it, after its last batch.

        Args:
            loss: the mean over the batch's samples, a scalar.

        Returns:
            None before the last batch; else the norm of the gradient before clipping, a scalar on the
            device, which is not finite if the step was skipped.
        """
        # From a loss that is not finite, gradients that are not either go to all processes.
        gradient = torch.where(torch.isfinite(loss), self.samples / self._usual, torch.nan)
        self.scaler.scale(loss).backward(gradient.to(loss.dtype))
        if not self._last:
            return None
        self._weigh()
        return self._take()

    def _weigh(self) -> None:
        """Divides the gradient by how many samples the step had, where that is not the usual number."""
        gradients = [local(p.grad) for p in self.parameters if p.grad is not None]
        if not self._is_spread:
            if self._of_step != self._usual:
                torch._foreach_mul_(gradients, self._usual / self._of_step)
            return
        # Only the device knows the samples of all processes, so it multiplies in every step.
        samples = torch.full((), float(self._of_step), device=self.parameters[0].device)
        distributed.all_reduce(samples)
        torch._foreach_mul_(gradients, self._usual * distributed.get_world_size() / samples)

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
    """The mean loss of samples, without batches where it is not finite; it stays on the device until read."""

    def __init__(self) -> None:
        self.sum: Tensor | float = 0.0
        self.samples: Tensor | int = 0

    def add(self, loss: Tensor, samples: int) -> None:
        """Adds the mean loss of a batch's samples, a scalar."""
        finite = torch.isfinite(loss)
        self.sum = self.sum + torch.where(finite, loss * samples, 0.0)
        self.samples = self.samples + finite * samples

    def mean(self) -> float:
        """The mean so far; waits for the device."""
        return float(self.sum) / max(int(self.samples), 1)
