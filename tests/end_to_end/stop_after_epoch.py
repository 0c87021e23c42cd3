"""Runs a training script and interrupts it (as Ctrl-C does) when its first epoch is saved.

python stop_after_epoch.py train_caption.py --exp_name ...
"""

import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import helpers.training
from helpers.cli import run

save_last = helpers.training.save_last


def save_and_stop(*args, **kwargs):
    save_last(*args, **kwargs)
    raise KeyboardInterrupt


helpers.training.save_last = save_and_stop
run(import_module(sys.argv.pop(1).removesuffix(".py")).main)
