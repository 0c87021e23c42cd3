"""The speed of one GPU: training steps, ranking, beam search, encoder; some rows against the baseline.

python -m benchmarks.gpu                         # all; most rows take 10 seconds, compiled ones 50
python -m benchmarks.gpu --only check "base captions 4" --seconds 200
python -m benchmarks.gpu --tiny                  # on a CPU, as a test

Each row is printed and written to the file at once, so an interrupted run keeps its rows. Weights are random,
and nothing is downloaded. For the experts: benchmarks/expert_networks.py --device cuda.
"""

import argparse
import gc
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import DeviceType

from benchmarks import baseline, memory_plan
from benchmarks.networks import TOKENIZER, texts
from common.files import write_json
from helpers.checkpoints.load import build_model
from helpers.performance.bf16_blocks import lower_blocks
from helpers.performance.compilation import compile_model
from helpers.performance.inference_graphs import MOST_IMAGES, replay_inference
from helpers.performance.training_graphs import record_losses
from helpers.training.distribution.preparation import prepare_model
from helpers.training.distribution.processes import start_accelerator
from helpers.training.optimizer_step import OptimizerStep
from helpers.training.schedule import build_optimizer
from helpers.training.settings import prismer_config
from model.answer_ranking import rank
from model.beam_search import Prompt
from model.encoder import fixed_instance_indices
from model.prismer import Prismer
from model.sizes import read_model_size
from model.vqa import PrismerVQA

Mode = Literal["baseline", "eager", "recorded", "compiled", "graphs"]  # graphs: compiled and recorded
PEAK = 989e12  # FLOP/s of an H100 or H200 in dense bfloat16, as the vendor states it
PREFIX = "A picture of"
WORDS = 3 * ("a", "red", "cube", "and", "two", "cones")
ANSWERS = 3128
GIB = 2**30


@dataclass(frozen=True)
class Bench:
    """Device and timing of a run."""

    device: torch.device
    tiny: bool
    accelerator: Any

    def wait(self) -> None:
        """Waits until the device is idle."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any], least: float = 1.5, together: int = 1) -> float:
        """The median seconds of some work.

        Args:
            work: the work.
            least: turns take so many seconds in sum, and are at least 3.
            together: runs of the work in a turn, without waiting between them, as in an epoch.
        """
        for _ in range(1 if self.tiny else 3):
            work()
        self.wait()
        turns: list[float] = []
        while len(turns) < (1 if self.tiny else 3) or (sum(turns) < least and not self.tiny):
            began = time.perf_counter()
            for _ in range(together):
                work()
            self.wait()
            turns.append(time.perf_counter() - began)
        return statistics.median(turns) / together

    def kernels(self, work: Callable[[], Any]) -> dict[str, Any]:
        """Number of kernels that some work launches, their milliseconds, and those of the slowest kernels."""
        with torch.profiler.profile(activities=list(torch.profiler.supported_activities())) as profile:
            work()
            self.wait()
        found = [event for event in profile.events() if event.device_type == DeviceType.CUDA]
        each: Counter[str] = Counter()
        for event in found:
            each[event.name[:100]] += event.time_range.elapsed_us() / 1e3
        return {"kernels": len(found), "kernels ms": each.total(), "most": dict(each.most_common(25))}

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16)


def captions(count: int) -> list[str]:
    """Captions with 3 to 17 words after the prefix."""
    return [" ".join([PREFIX, *WORDS[: 3 + 7 * row % 15]]) for row in range(count)]


def new_network(bench: Bench, size: str, task: memory_plan.Task, dropout: float = 0.1) -> Prismer:
    """A network with random weights, for the task's image size."""
    config, torch_size = memory_plan.task_config(task), read_model_size(size)
    network = prismer_config(config, torch_size)
    network = replace(network, text=replace(network.text, dropout=dropout))
    if size == "prismer_nano":
        network = replace(network, image_resolution=96, label_resolution=64)
    torch.manual_seed(0)
    # Drawn on the device; nano on the CPU, because devices are compared with it.
    with torch.device("cpu" if size == "prismer_nano" else bench.device):
        model = build_model(memory_plan.model_class(task), network, TOKENIZER)
    model.freeze(config.freeze)
    return model.to(bench.device)


class Trainer:
    """A network in training, in one of the ways."""

    def __init__(self, bench: Bench, size: str, task: memory_plan.Task, batch: int, mode: Mode) -> None:
        self.bench, self.mode, self.batch = bench, mode, batch
        self.prismer = new_network(bench, size, task)
        self.inputs = memory_plan.inputs_on(self.prismer.config, batch, bench.device)
        freeze = memory_plan.task_config(task).freeze
        compiled = {"compiled": "blocks", "recorded": "graphs", "graphs": "both"}.get(mode, "none")
        if mode == "baseline":
            self.model = self.prismer
        else:
            self.model = prepare_model(self.prismer, bench.accelerator, freeze=freeze, compiled=compiled)
        self.model.train()
        optimizer = build_optimizer(self.model, 1e-6, 0.05)
        scaler = torch.amp.GradScaler(bench.device.type, enabled=False)
        self.optimizer_step = OptimizerStep(self.model, optimizer, scaler, usual_samples=batch)
        self.weights = torch.ones(batch, device=bench.device)

    def loss(self) -> Tensor:
        """The loss of a batch."""
        if self.mode == "baseline":
            with torch.device(self.bench.device):
                return baseline.caption_loss(self.prismer, self.inputs, captions(self.batch), PREFIX)
        if isinstance(self.prismer, PrismerVQA):
            questions = [text.removeprefix(PREFIX) for text in captions(self.batch)]
            return self.model(self.inputs, questions, ["two cones"] * self.batch, self.weights)
        return self.model(self.inputs, captions(self.batch), PREFIX)

    def step(self) -> None:
        """One optimizer step."""
        with self.optimizer_step.batch(self.batch, is_last=True):
            with self.bench.autocast():
                loss = self.loss()
            self.optimizer_step.backward(loss)
        self.optimizer_step.apply(self.optimizer_step.clip_gradient())


def train(bench: Bench, size: str, task: memory_plan.Task, batch: int, mode: Mode) -> dict[str, Any]:
    """A training step, without loader and copy to the device."""
    size = "prismer_nano" if bench.tiny else size
    on_gpu = bench.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    trainer = Trainer(bench, size, task, batch, mode)
    began = time.perf_counter()
    trainer.step()
    bench.wait()
    first = time.perf_counter() - began
    seconds = bench.seconds(trainer.step, together=1 if bench.tiny else 5)
    row = {"ms": 1e3 * seconds, "samples/s": batch / seconds, "first step s": first}
    if on_gpu:
        row["GiB"] = torch.cuda.max_memory_allocated() / GIB
        row |= bench.kernels(trainer.step)
        row["busy"] = row["kernels ms"] / row["ms"]
    del trainer
    planned = memory_plan.network(task, size)
    activations = memory_plan.activations(planned, batch, False, torch.bfloat16).total
    row["planned GiB"] = (memory_plan.state(planned, "none", 1, torch.bfloat16).total + activations) / GIB
    row["TFLOP/s"] = memory_plan.flops(planned, 1) * batch / seconds / 1e12
    row["of 989"] = row["TFLOP/s"] * 1e12 / PEAK
    return row


def product(bench: Bench, side: int = 8192) -> dict[str, Any]:
    """A matrix product."""
    a = torch.randn(*[256 if bench.tiny else side] * 2, device=bench.device, dtype=torch.bfloat16)
    rate = 2 * len(a) ** 3 / bench.seconds(lambda: a @ a, 0.5)
    return {"TFLOP/s": rate / 1e12, "of 989": rate / PEAK}


class Asked:
    """Inference with the base size, in bfloat16."""

    def __init__(self, bench: Bench, task: memory_plan.Task, batch: int) -> None:
        self.bench, self.batch = bench, batch
        self.model = new_network(bench, "prismer_nano" if bench.tiny else "prismer_base", task).eval()
        self.inputs = memory_plan.inputs_on(self.model.config, batch, bench.device)

    def measure(self, way: Callable[[], Any], baseline_way: Callable[[], Any] | None, texts: int) -> dict:
        """Our code, the baseline, and replayed graphs; `differs`: graphs give other results."""
        with torch.no_grad(), self.bench.autocast(), torch.device(self.bench.device):
            before = self.bench.seconds(baseline_way, 0.5) if baseline_way else None
            lower_blocks(self.model)
            seconds, expected = self.bench.seconds(way, 1.0), way()
            row = {"ms": 1e3 * seconds, "texts/s": texts / seconds}
            row |= {"baseline ms": 1e3 * before, "speed-up": before / seconds} if before else {}
            if self.bench.device.type == "cuda" and self.batch <= MOST_IMAGES:
                replay_inference(self.model)
                replayed = self.bench.seconds(way, 1.0)
                row |= {"replayed ms": 1e3 * replayed, "differs": not equal(way(), expected)}
        return row


def equal(found: Any, expected: Any) -> bool:
    """Whether tensors are the same up to rounding in bfloat16, or texts are the same."""
    if isinstance(found, Tensor):
        return torch.allclose(found.float(), expected.float(), rtol=0.02, atol=0.02)
    if isinstance(found, tuple):
        return all(map(equal, found, expected))
    return found == expected


def encode(bench: Bench, batch: int) -> dict[str, Any]:
    """The encoder alone."""
    asked = Asked(bench, "captioning", batch)
    encoder = asked.model.expert_encoder
    return asked.measure(lambda: encoder(asked.inputs), lambda: baseline.encode(encoder, asked.inputs), batch)


def rank_answers(bench: Bench, batch: int, questions: int, k: int) -> dict[str, Any]:
    """Ranking answers to `questions` questions about each of `batch` images."""
    asked = Asked(bench, "VQA", batch)
    model, count = asked.model, batch * questions
    to = [*texts(model.config, ANSWERS, 1, 4, end=True), *texts(model.config, count, 6, 12, end=False)]
    answers, mask, ids, real = (x.to(bench.device) for x in to)
    prompt = Prompt(ids, real, real.sum(dim=1))

    def baseline_way() -> Any:
        encoded = baseline.encode(model.expert_encoder, asked.inputs)
        return baseline.rank(model.text_decoder, encoded, prompt, answers, mask, k)

    def ours() -> Any:
        return rank(model.text_decoder, model.expert_encoder(asked.inputs), prompt, answers, mask, k)

    return asked.measure(ours, baseline_way if count * k <= 256 else None, count)


def search(bench: Bench, batch: int) -> dict[str, Any]:
    """Captions by beam search."""
    asked = Asked(bench, "captioning", batch)
    return asked.measure(lambda: asked.model.generate(asked.inputs, PREFIX), None, batch)


def check(bench: Bench, mode: Mode, precision: torch.dtype) -> dict[str, Any]:
    """The largest relative errors of losses and gradients in a few steps of the nano size.

    The reference of `eager` is float32 on the CPU; that of the other modes is `eager` on the same device.
    """
    reference = replace(bench, device=torch.device("cpu")) if mode == "eager" else bench
    found = []
    torch.backends.cudnn.allow_tf32 = precision != torch.float32
    for where, way in ((reference, "eager"), (bench, mode)):
        model = new_network(where, "prismer_nano", "captioning", dropout=0.0).train()
        indices = fixed_instance_indices(where.device)
        model.expert_encoder._draw_instance_indices = lambda _, indices=indices: indices
        if way in ("compiled", "graphs"):
            compile_model(model)
        lower_blocks(model)
        if way in ("recorded", "graphs") and bench.device.type == "cuda":
            record_losses(model)
        found.append(list(steps(model, where, torch.float32 if where is not bench else precision)))
    errors = [
        tuple(((y.cpu() - x.cpu()).norm() / x.cpu().norm()).item() for x, y in zip(before, after, strict=True))
        for before, after in zip(*found, strict=True)
    ]
    return {"loss": max(error[0] for error in errors), "gradient": max(error[1] for error in errors)}


def steps(model: Prismer, bench: Bench, precision: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    """Losses and gradients of a few steps with changing weights, and texts of two lengths."""
    inputs = memory_plan.inputs_on(model.config, 4, bench.device)
    trainable = [p for p in model.parameters() if p.requires_grad]
    for longest in (6, 18, 6):
        texts = [" ".join(text.split()[:longest]) for text in captions(4)]
        low = torch.autocast(bench.device.type, precision) if precision != torch.float32 else nullcontext()
        with low:
            loss = model(inputs, texts, PREFIX)
        loss.backward()
        yield loss.detach(), torch.cat([p.grad.flatten() for p in trainable if p.grad is not None])
        with torch.no_grad():
            for p in trainable:
                if p.grad is not None:
                    p -= 1e-5 * p.grad
        model.zero_grad()


def rows() -> dict[str, tuple[Callable[..., dict[str, Any]], tuple]]:
    """The measurements by name, the most wanted first."""
    found: dict[str, tuple[Callable[..., dict[str, Any]], tuple]] = {
        "check eager float32": (check, ("eager", torch.float32)),
        "check eager bfloat16": (check, ("eager", torch.bfloat16)),
        "check recorded bfloat16": (check, ("recorded", torch.bfloat16)),
        "check recorded float32": (check, ("recorded", torch.float32)),
        "product": (product, ()),
    }
    cases = [
        *(("base", "captioning", batch) for batch in (4, 32)),
        *(("base", "pre-training", batch) for batch in (128, 32)),
        ("base", "VQA", 8),
        *(("large", "captioning", batch) for batch in (4, 32)),
    ]
    names = {"captioning": "captions", "pre-training": "pre-training", "VQA": "VQA"}

    def add(mode: Mode, *wanted: tuple[str, memory_plan.Task, int]) -> None:
        for size, task, batch in wanted:
            name = f"{size} {names[task]} {batch} {mode}"
            found[name] = (train, (f"prismer_{size}", task, batch, mode))

    add("recorded", *cases[:3])
    for batch in (32, 1):
        found[f"encoder {batch}"] = (encode, (batch,))
    for batch in (8, 1, 64):
        found[f"beams {batch}"] = (search, (batch,))
    for batch, questions, k in ((8, 1, 128), (1, 1, 128), (8, 1, 16), (32, 5, 16), (32, 5, 128)):
        found[f"ranking {batch} x {questions} k {k}"] = (rank_answers, (batch, questions, k))
    add("graphs", cases[1], cases[2], cases[0])
    add("eager", *cases)
    add("baseline", cases[0], cases[1])
    add("recorded", *cases[3:])
    add("compiled", *cases)
    found["check compiled float32"] = (check, ("compiled", torch.float32))
    found["check graphs bfloat16"] = (check, ("graphs", torch.bfloat16))
    add("graphs", *cases[3:])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[""], help="rows whose names contain one of these")
    parser.add_argument("--tiny", action="store_true", help="tiny networks")
    parser.add_argument("--seconds", type=float, default=480, help="no row begins later (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="(default: %(default)s)")
    args = parser.parse_args()
    began = time.perf_counter()
    accelerator = start_accelerator("bf16")
    bench = Bench(accelerator.device, args.tiny, accelerator)
    card = torch.cuda.get_device_name() if bench.device.type == "cuda" else "no GPU"
    print(f"{card}, torch {torch.__version__}, {os.cpu_count()} cores", flush=True)
    measured: dict[str, Any] = {"card": card, "torch": torch.__version__, "rows": {}}
    for name, (function, options) in rows().items():
        if not any(part in name for part in args.only):
            continue
        if time.perf_counter() - began > args.seconds:
            print(f"{name}: left out, {args.seconds:.0f} s are over")
            continue
        torch._dynamo.reset()
        start = time.perf_counter()
        try:
            row = function(bench, *options)
        except Exception as error:
            row = {"error": f"{type(error).__name__}: {error}"[:400]}
        row["row s"] = time.perf_counter() - start
        accelerator.free_memory()
        gc.collect()
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
        measured["rows"][name] = row
        cells = (f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items())
        print(f"{name}: {', '.join(cells)}", flush=True)
        write_json(args.out, measured, indent=1)


if __name__ == "__main__":
    main()
