"""--help of every script answers at once: it loads none of the heavy libraries."""

import subprocess
import sys

import pytest

from tests.end_to_end.conftest import ROOT

SCRIPTS = [
    "demo.py",
    "demo_vis.py",
    "demo_web.py",
    "download_checkpoints.py",
    "generate_config.py",
    *sorted(path.name for path in ROOT.glob("train_*.py")),
    *sorted(map(str, (ROOT / "experts").glob("generate*.py"))),
    "helpers/build_class_tables.py",
    "helpers/inspect_labels.py",
]
HELP = """
import runpy, sys
sys.argv = [{script!r}, "--help"]
try:
    runpy.run_path({script!r}, run_name="__main__")
except SystemExit as end:
    assert end.code == 0, end.code
loaded = {{"torch", "transformers", "accelerate", "matplotlib", "gradio"}} & set(sys.modules)
assert not loaded, loaded
"""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.rsplit("/", 1)[-1])
def test_help_loads_nothing_heavy(script):
    command = [sys.executable, "-c", HELP.format(script=script)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
