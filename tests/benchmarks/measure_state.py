"""What a process holds after a training step, by sharding mode, as JSON; run with two processes."""

import json
import sys
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.memory_plan import MODES, loss
from helpers.training.distribution.processes import start_accelerator
from helpers.training.distribution.sharding import distribute, unwrap
from helpers.training.schedule import build_optimizer
from tests.benchmarks.nano_network import network


def held(tensors):
    """Bytes of what is here of each tensor."""
    local = [x.to_local() if isinstance(x, DTensor) else x for x in tensors]
    return sum(x.numel() * x.element_size() for x in local)


def measure(sharding):
    torch.manual_seed(0)
    model = distribute(network("freeze_vision"), accelerator, sharding)
    optimizer = build_optimizer(model, 1e-3, 0.05)
    parameters = list(model.parameters())
    whole = [0]

    def look(*_):
        present = [p for p in unwrap(model).parameters() if not isinstance(p, DTensor)]
        whole.append(held(present))

    for block in unwrap(model).blocks():
        block.register_forward_pre_hook(look)
    with accelerator.autocast():
        value = loss(model, 2, "cpu")
    value.backward()
    gradients = held(p.grad for p in parameters if p.grad is not None)
    optimizer.step()
    moments = [value for state in optimizer.state.values() for key, value in state.items() if key != "step"]
    return {
        "parameters": held(parameters),
        "gradients": gradients,
        "optimizer": held(moments),
        "whole_parameters": max(whole),
    }


accelerator = start_accelerator("bf16")
measured = {mode: measure(mode) for mode in MODES}
if accelerator.is_main_process:
    print(json.dumps(measured))
