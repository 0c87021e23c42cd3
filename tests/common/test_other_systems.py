"""What Windows lacks is taken away: all that is imported there is, and scripts end as elsewhere."""

import subprocess
import sys

from common.files import ROOT

# Only our own modules are to do without: those of the libraries know how.
WITHOUT = """
import importlib, multiprocessing.resource_tracker, select, signal, sys, types
import accelerate, huggingface_hub, psutil, torch.distributed.checkpoint, torch.utils.data, transformers
there = sys.modules["signal"] = types.ModuleType("signal")
for name in vars(signal).keys() - {"SIGHUP", "SIGCHLD", "SIGKILL", "pthread_sigmask"}:
    setattr(there, name, getattr(signal, name))
del select.poll
sys.modules["fcntl"] = None
NAMES = "helpers.inference.captioner helpers.training.trainer experts.runner dataset.shards.pack"
for name in NAMES.split():
    importlib.import_module(name)
from pathlib import Path
from common.workers import parallel_map
from common.cli import run
from helpers.training.resume.run_lock import lock_folder
from common.errors import UserError

def main():
    assert list(parallel_map(abs, [-1, -2], 1)) == [1, 2]
    lock_folder(Path(sys.argv[1]))
    raise UserError("of the user")

run(main)
"""


def test_nothing_needs_what_windows_lacks(tmp_path):
    command = [sys.executable, "-c", WITHOUT, str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr == "error: of the user\n"
    assert "run cannot be locked on this system; start no second run in it" in done.stdout
