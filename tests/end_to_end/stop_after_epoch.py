"""Runs train_caption.py and interrupts it (as Ctrl-C does) when its first epoch is saved."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import helpers.training_state
import train_caption
from helpers.cli import run

save_last = helpers.training_state.save_last


def save_and_stop(*args, **kwargs):
    save_last(*args, **kwargs)
    raise KeyboardInterrupt


helpers.training_state.save_last = save_and_stop
run(train_caption.main)
