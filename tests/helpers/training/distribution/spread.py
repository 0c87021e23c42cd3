"""Training a nano model in each way it can be spread over processes, for `test_sharding.py`."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, distributed, nn

from benchmarks.networks import TOKENIZER, random_inputs
from common.errors import UserError
from helpers.checkpoints.load import build_model
from helpers.training.distribution.batch_norm import average_statistics
from helpers.training.distribution.preparation import prepare_model
from helpers.training.distribution.processes import start_accelerator
from helpers.training.distribution.sharding import Sharding, full_state_dict, gathered, local, unwrap
from helpers.training.optimizer_step import MeanLoss, OptimizerStep
from helpers.training.schedule import build_optimizer
from helpers.training.skipped_steps import SkippedSteps
from model.captioning import PrismerCaption
from model.config import PrismerConfig
from model.modules.label_map import LabelMap
from model.sizes import read_model_size

MODES: dict[str, Sharding] = {"ddp": "none", "zero2": "shard_grad_op", "zero3": "full_shard"}
EXPERTS = ("depth", "seg_coco", "obj_detection")  # one of each kind of stem
STEPS, IMAGES, PREFIX, LR = 10, 4, "A picture of", 1e-4
ENDS = ("a red cube", "two cones", "a sign on a table", "blue", "a yellow wall", "night")
CAPTIONS = [f"{PREFIX} {end}" for end in ENDS]
# Of six images, those of each process's two batches: as uneven as the end of an epoch can be.
UNEVEN = (slice(0, 3), slice(3, 4)), (slice(4, 5), slice(5, 6))
ANSWERS = ["a cube", "two cones", "a sign"]


def new_model() -> PrismerCaption:
    """Prismer-Nano with new weights, always the same."""
    torch.manual_seed(1)
    size = read_model_size("prismer_nano")
    return build_model(PrismerCaption, PrismerConfig(size.vision, size.text, EXPERTS, 48, 32), TOKENIZER)


def share_of(rank: int, processes: int) -> slice:
    """A process's part of `IMAGES`."""
    return slice(rank * IMAGES // processes, (rank + 1) * IMAGES // processes)


def inputs(config: PrismerConfig, step: int, share: slice) -> tuple[dict, list[str]]:
    """Images and captions of a batch in a step, some of all there are."""
    everything = random_inputs(config, len(CAPTIONS))

    def part(x: Tensor | LabelMap) -> Tensor | LabelMap:
        if isinstance(x, LabelMap):
            return LabelMap(x.index[share], x.table if x.table.dim() == 2 else x.table[share])
        return x.roll(step, dims=-1)[share]

    return {name: part(x) for name, x in everything.items()}, CAPTIONS[share]


class Run:
    """A model in training."""

    def __init__(
        self,
        accelerator: Accelerator,
        *,
        accumulate_steps: int = 1,
        max_grad_norm: float | None = None,
        scale: float = 0,
        **options: Any,
    ):
        self.accelerator = accelerator
        model = new_model()
        self.config = model.config
        self.model = prepare_model(model, accelerator, **{"freeze": "freeze_lang_vision"} | options)
        self.model.train()
        self.optimizer = build_optimizer(self.model, LR, weight_decay=0.05)
        self.scaler = torch.amp.GradScaler("cpu", enabled=scale > 0, init_scale=scale)
        self.optimizer_step = OptimizerStep(self.model, self.optimizer, self.scaler, max_grad_norm, accumulate_steps)
        self.share = share_of(accelerator.process_index, accelerator.num_processes)

    def forward(self, images: dict, captions: list[str]) -> Tensor:
        """The loss of a batch."""
        with self.accelerator.autocast():
            return self.model(images, captions, PREFIX)

    def take_step(self, loss: Tensor) -> Tensor:
        """A step of one batch; the norm of its gradient."""
        with self.optimizer_step.batch(samples=1, is_last=True):
            self.optimizer_step.backward(loss)
        norm = self.optimizer_step.clip_gradient()
        self.optimizer_step.apply(norm)
        return norm

    def step(self, step: int, *shares: slice) -> tuple[float, float]:
        """One step; the loss of all processes' samples, and the norm of its gradient.

        Args:
            step: its number.
            shares: this process's batches; by default one, its part of `IMAGES`.
        """
        shares = shares or (self.share,)
        losses = MeanLoss()
        for share in shares:
            images, captions = inputs(self.config, step, share)
            torch.manual_seed(step)  # instance embeddings are drawn in training
            with self.optimizer_step.batch(len(captions), is_last=share is shares[-1]):
                loss = self.forward(images, captions)
                self.optimizer_step.backward(loss)
            losses.add(loss.detach(), len(captions))
        norm = self.optimizer_step.clip_gradient()
        self.optimizer_step.apply(norm)
        total, samples = self.accelerator.reduce(torch.stack([losses.sum, losses.samples]), "sum")
        return (total / samples).item(), norm.item()

    def train(self, steps: int = STEPS) -> dict[str, Any]:
        """Losses, norms of gradients, and final weights."""
        losses, norms = zip(*[self.step(step) for step in range(steps)], strict=True)
        average_statistics(self.model, self.accelerator)
        weights = {name: value.clone() for name, value in full_state_dict(self.model).items()}
        return {"losses": losses, "norms": norms, "weights": weights}


def fixed_norms(run: Run) -> Run:
    """With stems that normalise as in an evaluation, so that a sample does not depend on its batch."""
    for module in run.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return run


def held(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors on this process."""
    return sum(local(x).nbytes for x in tensors)


def memory(run: Run) -> dict[str, int]:
    """Bytes on this process, by what and when."""
    parameters = run.model.parameters
    found = {"parameters": held(parameters())}
    loss = run.forward(*inputs(run.config, 0, run.share))
    found["parameters after forward"] = held(parameters())
    with patch.object(run.optimizer, "zero_grad"):
        run.take_step(loss)
    found["parameters after backward"] = held(parameters())
    found["gradients"] = held(p.grad for p in parameters() if p.grad is not None)
    run.optimizer.zero_grad()
    moments = [x for state in run.optimizer.state.values() for name, x in state.items() if name != "step"]
    return found | {"moments": held(moments)}


def use(run: Run, sharding: Sharding) -> dict[str, Any]:
    """What a model says of its process's images; one process asks more often, as in an evaluation."""
    rank, model = run.accelerator.process_index, unwrap(run.model)
    images, _ = inputs(run.config, 0, run.share)
    model.eval()
    with torch.inference_mode(), gathered(run.model, sharding):
        captions = [model.generate(images, PREFIX) for _ in range(1 + rank)]
        ranking = model.rank(images, ANSWERS, k=2, prefix=PREFIX)
    model.train()
    return {"captions": captions[0], "scores": ranking.scores}


def skip(run: Run) -> dict[str, Any]:
    """A step in which the loss of the last process alone is not finite."""

    def state() -> list[Tensor]:
        moments = [value for state in run.optimizer.state.values() for value in state.values()]
        return [local(x).clone() for x in [*run.model.parameters(), *moments]]

    before = state()
    loss = run.forward(*inputs(run.config, 0, run.share))
    if run.accelerator.process_index == 1:
        loss = loss * torch.inf
    norm = run.take_step(loss).item()
    kept = all(map(torch.equal, before, state()))
    run.step(0)
    return {"norm": norm, "kept": kept, "went on": not all(map(torch.equal, before, state()))}


def tied(run: Run) -> bool:
    """Whether word embeddings and LM head are one parameter."""
    decoder = unwrap(run.model).text_decoder
    return decoder.lm_head.decoder.weight is decoder.roberta["embeddings"].word_embeddings.weight


def statistics(accelerator: Accelerator) -> list[Tensor]:
    """Running statistics that differ by process, averaged once and again."""
    norm = nn.BatchNorm2d(2)
    norm.running_mean += accelerator.process_index
    norm.running_var *= 3 + accelerator.process_index
    for _ in range(2):
        average_statistics(nn.Sequential(norm, nn.BatchNorm2d(3)), accelerator)
    return [norm.running_mean, norm.running_var]


def stop(accelerator: Accelerator, file: Path) -> str:
    """How a run ends in which a step too many was skipped; each process has its own samples."""
    steps = SkippedSteps(1, file, accelerator, lambda: ["a", "b"])
    steps.note(7, torch.tensor(torch.nan), [accelerator.process_index])
    try:
        steps.check()
    except UserError as error:
        return str(error)
    return "it went on"


def main(folder: Path) -> None:
    """All that two processes do; what process r found is written to `r.pt` in a folder."""
    accelerator = start_accelerator("no")
    found: dict[str, Any] = {"statistics": statistics(accelerator)}
    found["stop"] = stop(accelerator, folder / "skipped_steps.json")
    for mode, sharding in MODES.items():
        run = Run(accelerator, sharding=sharding, sync_batchnorm=True)
        found[mode] = run.train() | {"use": use(run, sharding), "memory": memory(run), "skip": skip(run)}
        found[mode] |= {"tied": tied(run), "dtypes": [p.dtype for p in run.model.parameters()]}
        run = fixed_norms(Run(accelerator, sharding=sharding, accumulate_steps=2, max_grad_norm=1.0))
        shares = UNEVEN[accelerator.process_index]
        found[mode]["accumulated"] = [run.step(step, *shares) for step in range(2)]
    options = {"sharding": "full_shard", "sync_batchnorm": True, "activation_checkpointing": "offload"}
    # Without generating C++, which takes half a minute.
    with patch.object(torch, "compile", partial(torch.compile, backend="aot_eager")):
        run = Run(accelerator, compiled="blocks", scale=2.0**10, **options)
    found["everything"] = run.train(3) | {"skip": skip(run), "scale": run.scaler.get_scale()}
    found["offloaded"] = Run(accelerator, sync_batchnorm=True, activation_checkpointing="offload").train(3)
    AcceleratorState._reset_state()
    accelerator = start_accelerator("bf16")
    for mode in ("ddp", "zero2"):
        run = Run(accelerator, sharding=MODES[mode], sync_batchnorm=True)
        found[f"{mode}, bf16"] = run.train(3) | {"memory": memory(run)}
    torch.save(found, folder / f"{accelerator.process_index}.pt")
    distributed.destroy_process_group()
