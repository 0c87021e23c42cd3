"""Activation checkpointing in a training step: bytes kept for the backward pass, peak memory, seconds."""

import torch

from benchmarks.measure import peak_memory, print_table, start, take_turns
from benchmarks.networks import network, random_inputs
from benchmarks.saved_activations import saved_activations
from helpers.training.distribution.activation_checkpointing import checkpoint_activations
from model.captioning import PrismerCaption

PREFIX = "A picture of"
CAPTION = f"{PREFIX} a red cube and two blue cones on a table beside a sign"
TURNS = 3
MODES = ("none", "full", "offload")
MIB = 2**20


class Step:
    """Forward and backward pass of one sample in one mode."""

    def __init__(self, mode: str, tiny: bool) -> None:
        self.mode = mode
        self.model = network(PrismerCaption, tiny).train()
        self.model.freeze("freeze_vision")
        checkpoint_activations(self.model, mode)
        self.inputs = random_inputs(self.model.config, 1)

    def loss(self) -> torch.Tensor:
        """Scalar, with the same dropout each time."""
        torch.manual_seed(0)
        return self.model(self.inputs, [CAPTION], PREFIX)

    def __call__(self) -> torch.Tensor:
        loss = self.loss()
        loss.backward()
        self.model.zero_grad()
        return loss.detach()

    def kept(self) -> tuple[int, int]:
        """Bytes kept between the passes: those that stay on a GPU, and those that go to the host."""
        with saved_activations(self.model) as saved:
            self.loss()
        if self.mode != "offload":
            return saved.total, 0
        return sum(saved.outside.values()), sum(sum(block.values()) for block in saved.blocks)


def one_step(mode: str, tiny: bool) -> None:
    Step(mode, tiny)()


def main() -> None:
    tiny = start("Activation checkpointing, Prismer-Base, 480 px, freeze_vision, one caption")
    peaks = {mode: peak_memory(one_step, mode, tiny) for mode in MODES}
    steps = {mode: Step(mode, tiny) for mode in MODES}
    timings = take_turns(steps, TURNS)
    if len({timing.result.item() for timing in timings.values()}) > 1:
        raise AssertionError("the losses differ")
    rows = []
    for mode in MODES:
        seconds, share = timings[mode].seconds, timings[mode].seconds / timings["none"].seconds
        sizes = [f"{size / MIB:.0f}" for size in (*steps[mode].kept(), peaks[mode])]
        rows.append([mode, *sizes, f"{seconds:.2f}", f"{share:.2f}"])
    print_table(["", "MiB kept", "MiB on the host", "peak MiB", "s/step", "of none"], rows)


if __name__ == "__main__":
    main()
