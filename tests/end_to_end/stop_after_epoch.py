"""Runs a training script and interrupts it (as Ctrl-C does) when its first epoch is evaluated and noted.

python stop_after_epoch.py train_caption.py --exp_name ...
"""

import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from helpers.cli import run
from helpers.saving.saver import Saver

note = Saver.note


def note_and_stop(*args, **kwargs):
    note(*args, **kwargs)
    raise KeyboardInterrupt


Saver.note = note_and_stop
run(import_module(sys.argv.pop(1).removesuffix(".py")).main)
