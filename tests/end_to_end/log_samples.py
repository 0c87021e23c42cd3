"""Runs a training script, noting the images of each step when the step is done: `samples_<rank>.jsonl`.

python log_samples.py LAST train_pretrain.py --exp_name ...   # is killed when step LAST is done; 0: is not
"""

import os
import signal
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.cli import run
from common.files import append_json_line
from helpers.training.trainer import Training

batches = Training.batches
last = int(sys.argv.pop(1))


def noted_batches(self):
    for batch in batches(self):
        yield batch
        record = {"step": self.progress.step, "epoch": self.progress.epoch, "images": batch["image"]}
        rank = self.session.accelerator.process_index
        append_json_line(Path(f"samples_{rank}.jsonl"), record)
        if self.progress.step == last:
            os.kill(os.getpid(), signal.SIGKILL)


Training.batches = noted_batches
run(import_module(sys.argv.pop(1).removesuffix(".py")).main)
