"""The stems' BatchNorms on several processes: one set of running statistics, or one normalisation."""

import torch
from accelerate import Accelerator
from torch import Tensor, distributed, nn


def average_statistics(model: nn.Module, accelerator: Accelerator) -> None:
    """Averages the running statistics over the processes. Every process must call it.

    Each process has seen its own samples alone; without this, an evaluation or a checkpoint would depend on
    the process. Running means of averages are averages of running means, so calling it more often changes
    the outcome by rounding alone. Variances are averaged as they are: all processes draw from the same data,
    so their means differ by the error of these estimates only.
    """
    mean = own_statistics(model)
    if accelerator.num_processes > 1 and mean.numel():
        distributed.all_reduce(mean)
        set_statistics(model, mean / accelerator.num_processes)


def own_statistics(model: nn.Module) -> Tensor:
    """A copy of this process's running statistics, (n,)."""
    statistics = _statistics(model)
    return torch.cat(statistics) if statistics else torch.empty(0)


def set_statistics(model: nn.Module, values: Tensor) -> None:
    """The reverse of `own_statistics`."""
    statistics = _statistics(model)
    for statistic, value in zip(statistics, values.split([len(each) for each in statistics]), strict=True):
        statistic.copy_(value)


def _statistics(model: nn.Module) -> list[Tensor]:
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    return [statistic for norm in norms for statistic in (norm.running_mean, norm.running_var)]


def synchronise_batch_norms(model: nn.Module, accelerator: Accelerator) -> None:
    """Makes BatchNorms normalise with the statistics of all processes' samples in training."""
    if accelerator.num_processes == 1:
        return
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SynchronisedBatchNorm2d  # it has the same state


class SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over the samples of all processes, as many on each; torch's `SyncBatchNorm` needs GPUs."""

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, c, h, w)."""
        if not self.training:
            return super().forward(x)
        values = x.float()
        variance, mean = torch.var_mean(values, dim=(0, 2, 3), correction=0)  # (c,)
        # In float64: the variance becomes a difference of squares.
        moments = torch.cat([mean, variance + mean.square()]).double()
        processes = distributed.get_world_size()
        mean, square = (_Sum.apply(moments) / processes).chunk(2)
        variance = (square - mean.square()).float()
        with torch.no_grad():
            self.num_batches_tracked += 1
            count = values.numel() // values.shape[1] * processes
            self.running_mean.lerp_(mean.float(), self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean.float() * scale
        return (values * scale[:, None, None] + shift[:, None, None]).to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum over processes; so is its gradient."""

    @staticmethod
    def forward(_context: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        x = x.clone()
        distributed.all_reduce(x)
        return x

    @staticmethod
    def backward(_context: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        return _Sum.forward(_context, gradient)
