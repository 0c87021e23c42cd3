"""The bytes of a process in a training step, by sharding mode, as JSON; run with two processes."""

import json
import sys
from pathlib import Path

from torch.distributed.tensor import DTensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.memory_plan import MODES
from helpers.training.distribution.processes import start_accelerator
from helpers.training.distribution.sharding import unwrap
from tests.helpers.training.distribution.spread import Run, held, memory


def measure(sharding):
    run = Run(accelerator, sharding=sharding, freeze="freeze_vision")
    whole = []

    def look(*_):
        whole.append(held(p for p in run.model.parameters() if not isinstance(p, DTensor)))

    for block in unwrap(run.model).blocks():
        block.register_forward_pre_hook(look)
    found = memory(run)
    return {
        "parameters": found["parameters"],
        "gradients": found["gradients"],
        "optimizer": found["moments"],
        "whole_parameters": max(whole),
    }


accelerator = start_accelerator("bf16")
measured = {mode: measure(mode) for mode in MODES}
if accelerator.is_main_process:
    print(json.dumps(measured))
