"""Runs a training script, noting the images of each step when the step is done: `samples.jsonl`.

python log_samples.py train_pretrain.py --exp_name ...
"""

import os
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dataset.files import append_json_line
from helpers.cli import run
from helpers.training import Training

batches = Training.batches


def noted_batches(self):
    for batch in batches(self):
        yield batch
        record = {"step": self.progress.step, "epoch": self.progress.epoch, "images": batch["image"]}
        record["process"] = os.getpid()
        rank = self.session.accelerator.process_index
        append_json_line(Path(f"samples_{rank}.jsonl"), record)


Training.batches = noted_batches
run(import_module(sys.argv.pop(1).removesuffix(".py")).main)
