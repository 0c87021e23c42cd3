"""AdamW over the trainable parameters, and the learning rate as a function of the step."""

import math
from dataclasses import dataclass

import torch
from torch import nn


def build_optimizer(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW with torch's betas and eps over the parameters that train; fused takes a quarter of the time."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trainable, lr=lr, weight_decay=weight_decay, fused=True)


def cosine_lr(t: float, total: float, init_lr: float, min_lr: float) -> float:
    """`min + (init - min)·(1 + cos(pi·t/T))/2`, t counted in steps or in epochs."""
    return min_lr + (init_lr - min_lr) * (1 + math.cos(math.pi * min(t / total, 1.0))) / 2


@dataclass(frozen=True)
class Schedule:
    """The learning rate of each step: a cosine, and a linear warm-up that overrides its beginning.

    Attributes:
        by_epoch: the cosine falls from epoch to epoch rather than from step to step.
        warmup_lr: at step 0; the warm-up reaches `init_lr` at `warmup_steps`.
    """

    init_lr: float
    min_lr: float
    epochs: int
    steps_per_epoch: int
    by_epoch: bool = False
    warmup_steps: int = 0
    warmup_lr: float = 0.0

    def lr(self, step: int) -> float:
        """The learning rate of a step, the first being 0."""
        if step < self.warmup_steps:
            return self.warmup_lr + (self.init_lr - self.warmup_lr) * step / self.warmup_steps
        if self.by_epoch:
            return cosine_lr(step // self.steps_per_epoch, self.epochs, self.init_lr, self.min_lr)
        return cosine_lr(step, self.epochs * self.steps_per_epoch, self.init_lr, self.min_lr)
