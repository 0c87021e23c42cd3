"""The memory a training run needs on each GPU, and the time of pre-training, computed without memory or GPU.

python -m benchmarks.memory_plan
python -m benchmarks.memory_plan --samples_per_second 3000   # from metrics.jsonl: days of pre-training

The networks are built on the device meta; their forward pass shows the tensors kept for the backward pass.
"""

import argparse
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import print_table
from benchmarks.networks import TOKENIZER, random_inputs
from benchmarks.saved_activations import GpuFunctions, Saved, saved_activations
from common.files import ROOT
from common.yaml_config import read_config
from helpers.checkpoints.load import build_model, without_memory
from helpers.training.distribution.sharding import Sharding, unwrap
from helpers.training.settings import CaptionConfig, PretrainConfig, TaskConfig, VQAConfig, prismer_config
from model.captioning import PrismerCaption
from model.config import PrismerConfig
from model.modules.label_map import LabelMap
from model.prismer import Prismer
from model.sizes import read_model_size
from model.vqa import PrismerVQA

Task = Literal["pre-training", "captioning", "VQA"]
TASKS: tuple[Task, ...] = get_args(Task)
SIZES = ("prismer_base", "prismer_large", "prismer_huge")
MODES: dict[Sharding, str] = {"none": "DDP", "shard_grad_op": "ZeRO-2", "full_shard": "ZeRO-3"}
GPUS = (1, 8, 16, 32, 64)
GIB = 2**30
PRECISION = torch.bfloat16
FLOAT = 4  # bytes: parameters, gradients and AdamW's two moments are float32, whatever autocast computes in

# Pre-training of the paper: pairs of image and text, epochs, GPUs.
PAIRS, EPOCHS, PAPER_GPUS = 12.7e6, 20, 32
# Assumed for the table of hours: the vendor's dense bfloat16 FLOP/s, and the share that is reached.
PEAKS = {"A100": 312e12, "H100": 989e12}
UTILISATION = 0.3


@dataclass(frozen=True)
class State:
    """Bytes of the first process, whose shards are the largest, without its activations.

    Attributes:
        parameters: its shard.
        copies: of frozen weights, in autocast's type (helpers/performance/bf16_blocks.py).
        gradients: its shard.
        optimizer: AdamW's moments.
        whole_parameters: gathered from all processes, at the peak.
        whole_gradients: not yet split over the processes, at the peak.
    """

    parameters: int
    copies: int
    gradients: int
    optimizer: int
    whole_parameters: int = 0
    whole_gradients: int = 0

    @property
    def total(self) -> int:
        """The sum."""
        return sum(astuple(self))


def state(model: Prismer, sharding: Sharding, processes: int, precision: torch.dtype) -> State:
    """The state of a process in a mode of helpers/training/distribution/sharding.py.

    Args:
        model: in float32.
        sharding: the mode.
        processes: their number.
        precision: of autocast and of gathered blocks.
    """
    everything = list(model.parameters())
    trainable = [parameter for parameter in everything if parameter.requires_grad]
    parts = 1 if sharding == "none" else processes
    gradients = shard_bytes(trainable, parts)
    blocks = [list(block.parameters()) for block in model.blocks()]
    copies = 0
    if parts == 1 and precision != torch.float32:
        copies = sum(p.numel() for block in blocks for p in block if not p.requires_grad) * precision.itemsize
    kept = State(shard_bytes(everything, parts), copies, gradients, 2 * gradients)
    if parts == 1:
        return kept
    inside = {parameter for block in blocks for parameter in block}
    root = [parameter for parameter in everything if parameter not in inside]
    # The root group is whole from the beginning of the forward pass to the end of the backward pass.
    whole_gradients = shard_bytes([parameter for parameter in root if parameter.requires_grad])
    # With ZeRO-3, the next block is gathered while one computes.
    together = len(blocks) if sharding == "shard_grad_op" else 2
    gathered = sum(sorted(map(shard_bytes, blocks), reverse=True)[:together]) * precision.itemsize // FLOAT
    return replace(kept, whole_parameters=shard_bytes(root) + gathered, whole_gradients=whole_gradients)


def shard_bytes(parameters: Sequence[nn.Parameter], parts: int = 1) -> int:
    """Bytes of one of `parts` shards: `fully_shard` splits the rows of each parameter, and pads them."""
    return sum(-(-len(p) // parts) * (p.numel() // len(p)) * FLOAT for p in parameters)


def task_config(task: Task) -> TaskConfig:
    """The committed settings, which follow the paper."""
    configs = ROOT / "configs"
    if task == "pre-training":
        return read_config(configs / "pretrain.yaml", PretrainConfig)
    if task == "captioning":
        return read_config(configs / "caption.yaml", CaptionConfig, "coco")
    return read_config(configs / "vqa.yaml", VQAConfig)


def network(task: Task, size_name: str) -> Prismer:
    """The network of a task without memory, frozen as in the task's config."""
    config, size = task_config(task), read_model_size(size_name)
    with without_memory():
        model = build_model(model_class(task), prismer_config(config, size), TOKENIZER)
    model.freeze(config.freeze)
    return model.train()


def model_class(task: Task) -> type[Prismer]:
    return PrismerVQA if task == "VQA" else PrismerCaption


def loss(model: nn.Module, batch: int, device: str) -> Tensor:
    """The loss of a batch with texts of the maximum length, scalar."""
    words = " ".join(["cube"] * 40)
    inputs = inputs_on(unwrap(model).config, batch, device)
    if isinstance(unwrap(model), PrismerVQA):
        return model(inputs, [words] * batch, ["two"] * batch, torch.ones(batch, device=device))
    return model(inputs, [words] * batch)


def inputs_on(config: PrismerConfig, batch: int, device: str) -> dict[str, Tensor | LabelMap]:
    """Random inputs of the encoder on a device."""
    moved = {}
    for name, value in random_inputs(config, batch).items():
        moved[name] = LabelMap(*(x.to(device) for x in value)) if isinstance(value, LabelMap) else value.to(device)
    return moved


def activations(model: Prismer, batch: int, sharded: bool, precision: torch.dtype) -> Saved:
    """The activations that a network would keep on a GPU.

    Args:
        model: on the device meta, in float32.
        batch: images.
        sharded: blocks are gathered in `precision`, so their trainable weights have no copies.
        precision: of autocast.
    """
    order: list[nn.Module] = []  # the order in which blocks run

    def lower(block: nn.Module, args: tuple) -> tuple:
        order.append(block)
        return tuple(x.to(precision) if isinstance(x, Tensor) and x.is_floating_point() else x for x in args)

    for block in model.blocks():
        block.to(precision)
    with saved_activations(model) as saved, GpuFunctions(precision):
        hooks = [block.register_forward_pre_hook(lower) for block in model.blocks()]
        loss(model, batch, "meta")
    for block, kept in zip(order, saved.blocks, strict=True):
        if not sharded and precision != torch.float32:
            copies = sum(p.numel() for p in block.parameters() if p.requires_grad) * precision.itemsize
            kept[id(block)] = copies
    for hook in hooks:
        hook.remove()
    for block in model.blocks():
        block.float()
    return saved


def flops(model: Prismer, batch: int) -> float:
    """Floating-point operations a sample, forward and backward; frozen weights have no gradient."""
    with FlopCounterMode(display=False) as counter, GpuFunctions(PRECISION):
        loss(model, batch, "meta").backward()
    return counter.get_total_flops() / batch


def days(samples_per_second: float) -> float:
    """Days of the paper's pre-training."""
    return PAIRS * EPOCHS / samples_per_second / 86400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples_per_second", type=float, help="measured, over all processes")
    args = parser.parse_args()
    if args.samples_per_second:
        print(f"pre-training, {PAIRS * EPOCHS:.3g} samples: {days(args.samples_per_second):.1f} days")
        return
    parameters, kept, totals, times = [], [], [], []
    for task in TASKS:
        config = task_config(task)
        batch, side = config.batch_size_train, config.image_resolution
        for size in SIZES:
            model = network(task, size)
            name = f"{size}, {task}"
            parameters.append([name, *(f"{count(model, trains) / 1e6:.1f}" for trains in (False, True))])
            saved = {sharded: activations(model, batch, sharded, PRECISION) for sharded in (False, True)}
            cells = [x / GIB for counts in saved.values() for x in (counts.total, counts.checkpointed)]
            kept.append([name, str(batch), str(side), *(f"{cell:.1f}" for cell in cells)])
            for mode, title in MODES.items():
                counts, row = saved[mode != "none"], []
                for gpus in GPUS:
                    rest = state(model, mode, gpus, PRECISION).total
                    shown = "/".join(f"{(rest + x) / GIB:.1f}" for x in (counts.total, counts.checkpointed))
                    row.append("" if gpus == 1 and mode != "none" else shown)
                totals.append([f"{name}, {title}", *row])
            if task == "pre-training":
                operations = flops(model, batch)
                rates = [peak * UTILISATION / operations * PAPER_GPUS for peak in PEAKS.values()]
                times.append([size, f"{operations / 1e12:.2f}", *(f"{24 * days(rate):.1f}" for rate in rates)])
    print("\nParameters, millions")
    print_table(["", "frozen", "trainable"], parameters)
    print("\nActivations of the config's batch on a GPU, bfloat16 autocast, GiB: all kept, or checkpointed")
    print_table(["", "batch", "pixels", "DDP", "checkpointed", "ZeRO", "checkpointed"], kept)
    print("\nGiB a GPU, activations all kept/checkpointed, by the number of GPUs")
    print_table(["", *map(str, GPUS)], totals)
    print(f"\nHours of pre-training on {PAPER_GPUS} GPUs: a calculation, assuming {UTILISATION:.0%} of the peak")
    print_table(["", "TFLOP a sample", *PEAKS], times)


def count(model: Prismer, trains: bool) -> int:
    """Number of trainable, or of frozen parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad == trains)


if __name__ == "__main__":
    main()
