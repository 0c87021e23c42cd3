"""--help of every script documents every flag, and imports no heavy library."""

import re
import subprocess
import sys
from typing import get_args

import pytest

import demo
from helpers.performance.compilation import Compilation
from helpers.training.distribution.sharding import Sharding
from helpers.training.flags import training_parser
from tests.end_to_end.conftest import ROOT

SCRIPTS = [
    "demo.py",
    "demo_vis.py",
    "demo_web.py",
    "download_checkpoints.py",
    "generate_config.py",
    *sorted(path.name for path in ROOT.glob("train_*.py")),
    *sorted(map(str, (ROOT / "experts").glob("generate*.py"))),
    "experts/build_class_tables.py",
    "experts/inspect_labels.py",
    *("nano/ablation.py", "nano/baselines.py", "nano/train.py", "nano/train_tokenizer.py"),
    *("nano/expert/train.py", "nano/scenes/__main__.py", "nano/scenes/facts.py"),
]
HELP = """
import argparse, runpy, sys
sys.argv = [{script!r}, "--help"]
def help_of_all(parser, file=None):
    assert all(action.help for action in parser._actions), parser._actions
    print(parser.format_help())
argparse.ArgumentParser.print_help = help_of_all
try:
    runpy.run_path({script!r}, run_name="__main__")
except SystemExit as end:
    assert end.code == 0, end.code
loaded = {{"torch", "transformers", "accelerate", "matplotlib", "gradio"}} & set(sys.modules)
assert not loaded, loaded
"""


PAGES = {"demo.py": "demo.md", "demo_vis.py": "demo.md", "demo_web.py": "web.md"}


@pytest.mark.parametrize("script", PAGES)
def test_every_flag_is_in_the_docs(script):
    command = [sys.executable, script, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    flags = set(re.findall(r"--[a-z_]+", done.stdout.split("options:")[1])) - {"--help"}
    page = (ROOT / "docs" / PAGES[script]).read_text(encoding="utf-8")
    assert len(flags) > 4
    assert {flag for flag in flags if f"`{flag}`" not in page} == set()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.rsplit("/", 1)[-1])
def test_every_flag_has_a_help_text_which_loads_nothing_heavy(script):
    command = [sys.executable, "-c", HELP.format(script=script)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


@pytest.mark.parametrize(("flag", "known"), [("compile", Compilation), ("sharding", Sharding)])
def test_a_flag_takes_what_the_model_does(flag, known):
    """cli.py repeats the values: the modules that define them import torch."""
    actions = [action for action in training_parser("", config="a.yaml")._actions if action.dest == flag]
    values = {value for each in actions for value in [*(each.choices or []), each.const, each.default]}
    assert values - {None} == set(get_args(known))


def test_an_empty_path_is_not_the_present_folder(capsys):
    parser = training_parser("", config="a.yaml")
    with pytest.raises(SystemExit) as end:
        parser.parse_args(["--exp_name", "a", "--config", ""])
    assert end.value.code == 2
    assert "--config: '' names nothing; the present folder is ." in capsys.readouterr().err


def test_an_empty_question_is_refused(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["demo.py", "--question", " "])
    with pytest.raises(SystemExit) as end:
        demo.main()
    assert end.value.code == 2
    assert "argument --question: is empty" in capsys.readouterr().err
