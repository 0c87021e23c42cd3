"""An optimizer step: gradients of several batches are summed, weighed by samples, clipped, applied or skipped.

Nothing here waits for the device. Processes exchange one number a step, how many samples it has; all see the
same reduced gradients.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from helpers.training.distribution.sharding import local


class OptimizerStep:
    """The optimizer steps of a model, however it is spread over processes.

        with step.batch(samples, is_last):
            step.backward(loss_of_the_batch)
        if is_last:
            norm = step.clip_gradient()
            step.apply(norm)

    The gradient of a step is that of the mean loss of its samples, of all its batches and processes, whatever
    their sizes. A step whose loss or gradient is not finite is skipped: weights, moments and the optimizer's
    count of steps stay, on all processes alike.

    Args:
        model: what `prepare_model` returned.
        optimizer: over its trainable parameters, and fused: it then skips a step on the device.
        scaler: of the loss, for float16; disabled otherwise.
        max_grad_norm: longer gradients are shortened to this norm; None: never.
        usual_samples: of most steps, the same on all processes. It keeps the numbers of a backward pass at the
            size of those of a mean, which matters to float16 alone.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        max_grad_norm: float | None = None,
        usual_samples: int = 1,
    ) -> None:
        self.model, self.optimizer, self.scaler = model, optimizer, scaler
        self.max_grad_norm, self.usual_samples = max_grad_norm, usual_samples
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._is_ddp = isinstance(model, nn.parallel.DistributedDataParallel)
        self._batch = 0  # samples of the present batch
        self._step = 0  # samples of the present step so far

    def batch(self, samples: int, is_last: bool) -> AbstractContextManager:
        """Begins a batch; its forward and backward pass belong into the context that is returned.

        DDP reduces gradients once a step. Sharded gradients are reduced after every batch, since they would
        have to be kept whole otherwise.

        Args:
            samples: of the batch, on this process.
            is_last: whether the batch is the step's last.
        """
        self._batch = samples
        self._step += samples
        return self.model.no_sync() if self._is_ddp and not is_last else nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of a batch's loss, the mean over its samples, a scalar."""
        # A loss that is not finite makes the gradients of all processes NaN.
        gradient = torch.where(torch.isfinite(loss), self._batch / self.usual_samples, torch.nan)
        self.scaler.scale(loss).backward(gradient.to(loss.dtype))

    def clip_gradient(self) -> Tensor:
        """Makes the gradient that of the mean over the step's samples, and clips it.

        Returns:
            Its norm before clipping, a scalar on the device; not finite if the step must be skipped.
        """
        self._weigh_gradient(self._step)
        self._step = 0
        self.scaler.unscale_(self.optimizer)
        norm = get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        if self.max_grad_norm is not None:
            clip_grads_with_norm_(self.parameters, self.max_grad_norm, norm)
        return norm

    def _weigh_gradient(self, samples: int) -> None:
        """Divides the gradient by the step's samples instead of the usual number."""
        gradients = [local(p.grad) for p in self.parameters if p.grad is not None]
        # DDP and FSDP make a gradient the mean of those of all processes.
        if self._is_ddp or isinstance(self.model, FSDPModule):
            # Only the device knows the samples of all processes, so it multiplies in every step.
            everyone = torch.full((), float(samples), device=self.parameters[0].device)
            distributed.all_reduce(everyone)
            torch._foreach_mul_(gradients, self.usual_samples * distributed.get_world_size() / everyone)
        elif samples != self.usual_samples:
            torch._foreach_mul_(gradients, self.usual_samples / samples)

    def apply(self, norm: Tensor) -> None:
        """Takes the step, or skips it if the gradient's norm is not finite; clears the gradient."""
        # Read by torch's fused optimizers, to which an enabled scaler hands its own.
        self.optimizer.found_inf = (~torch.isfinite(norm)).float()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()


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
