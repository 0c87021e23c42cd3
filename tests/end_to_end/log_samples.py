"""Runs a training script, noting the images of each step when the step is done: `samples_<rank>.jsonl`.

python log_samples.py LAST train_pretrain.py --exp_name ...   # is killed when step LAST is done; 0: is not
"""

import os
import signal
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.cli import run as run_script
from common.files import append_json_line
from helpers.training import trainer

last = int(sys.argv.pop(1))


class NotingMeter(trainer.Meter):
    def batch_ended(self):
        super().batch_ended()
        record = {"step": self.progress.step, "epoch": self.progress.epoch, "images": self.batch["image"]}
        append_json_line(Path(f"samples_{self._accelerator.process_index}.jsonl"), record)
        if self.progress.step == last:
            os.kill(os.getpid(), signal.SIGKILL)


class NotingTrainer(trainer.Trainer):
    def __init__(self, run, task):
        meter = NotingMeter(run.accelerator)

        def loss(batch):
            meter.batch = batch
            return task.loss(batch)

        super().__init__(run, replace(task, loss=loss))
        meter.progress, self.meter = self.progress, meter


trainer.Trainer = NotingTrainer
run_script(import_module(sys.argv.pop(1).removesuffix(".py")).main)
