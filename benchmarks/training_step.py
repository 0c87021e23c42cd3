"""Fine-tuning on captions with `freeze_vision`: seconds a step, and peak memory."""

import torch

from benchmarks import baseline
from benchmarks.measure import peak_memory, print_table, start, take_turns
from benchmarks.networks import network, random_inputs
from helpers.training.schedule import build_optimizer
from model.captioning import PrismerCaption

PREFIX = "A picture of"
CAPTION = f"{PREFIX} a red cube and two blue cones on a table beside a sign"
BATCH = 4  # the config's
TURNS = 3
WAYS = ("baseline", "ours")


class Trainer:
    """A model in training, in one of the ways."""

    def __init__(self, way: str, tiny: bool) -> None:
        self.is_baseline = way == "baseline"
        self.model = network(PrismerCaption, tiny)
        self.model.freeze("freeze_vision")
        self.model.train()
        self.inputs = random_inputs(self.model.config, BATCH)
        if self.is_baseline:
            trainable = [p for p in self.model.parameters() if p.requires_grad]
            self.optimizer = torch.optim.AdamW(trainable, lr=1e-6, weight_decay=0.05)
        else:
            self.optimizer = build_optimizer(self.model, lr=1e-6, weight_decay=0.05)

    def loss(self) -> torch.Tensor:
        """The loss of a batch, scalar."""
        captions = [CAPTION] * BATCH
        if self.is_baseline:
            return baseline.caption_loss(self.model, self.inputs, captions, PREFIX)
        return self.model(self.inputs, captions, PREFIX)

    def step(self) -> None:
        """One optimizer step."""
        self.loss().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def two_steps(way: str, tiny: bool) -> None:
    """Two steps use all memory: the first one makes the optimizer's state."""
    trainer = Trainer(way, tiny)
    trainer.step()
    trainer.step()


def main() -> None:
    tiny = start(f"Caption training step, Prismer-Base, 480 px, freeze_vision, batch {BATCH}")
    # Measured before this process has a model too: a small machine has no room for both.
    memory = {way: peak_memory(two_steps, way, tiny) / 2**30 for way in WAYS}
    trainers = {way: Trainer(way, tiny) for way in WAYS}
    check(trainers)
    timings = take_turns({way: trainer.step for way, trainer in trainers.items()}, TURNS)
    rows = []
    for way in WAYS:
        seconds, share = timings[way].seconds, timings[way].seconds / timings["baseline"].seconds
        memory_share = memory[way] / memory["baseline"]
        row = [f"{seconds:.2f}", f"{share:.2f}", f"{memory[way]:.2f}", f"{memory_share:.2f}"]
        rows.append([way, str(TURNS), *row])
    print_table(["", "turns", "s/step", "of baseline", "peak GiB", "of baseline"], rows)


def check(trainers: dict[str, Trainer]) -> None:
    """Asserts that both ways have the same loss and gradients, without dropout and random instance embeddings."""
    found = {}
    for way, trainer in trainers.items():
        trainer.model.eval()
        loss = trainer.loss()
        loss.backward()
        norms = [p.grad.norm() for p in trainer.model.parameters() if p.requires_grad]
        found[way] = torch.stack([loss.detach(), *norms])
        trainer.optimizer.zero_grad()
        trainer.model.train()
    torch.testing.assert_close(found["ours"], found["baseline"], rtol=1e-3, atol=1e-5)


if __name__ == "__main__":
    main()
