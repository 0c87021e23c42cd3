"""Files from outside are data: whatever they hold, nothing in them is run."""

import ast
import os
import pickle
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from common.errors import UserError
from dataset.class_tables import read_class_tables
from dataset.label_files import read_words
from helpers.checkpoints.load import load_model
from helpers.checkpoints.weight_files import read_weights
from helpers.training.resume.training_state import load_process
from model.captioning import PrismerCaption

ROOT = Path(__file__).resolve().parents[1]
PICKLE = "what is in a pickle is run"


def sources() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", "*.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:  # not a clone
        return [path for path in ROOT.rglob("*.py") if ".venv" not in path.parts]
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """The calls in a file, with the dotted names of the functions as written."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def unsafe(name: str, call: ast.Call) -> str | None:
    """What is wrong with a call."""
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if "trust_remote_code" in options:
        return "trust_remote_code"
    if name == "torch.load" and options.get("weights_only") != "True":
        return "torch.load without weights_only=True"
    if options.get("weights_only", "True") != "True" or options.get("allow_pickle", "False") != "False":
        return PICKLE
    if re.fullmatch(r"(c?[pP]ickle|dill|joblib)\.(load|loads)|torch\.jit\.load|torch\.hub\.load", name):
        return PICKLE
    if name == "yaml.load" and "_YamlLoader" not in options.get("Loader", ""):
        return "yaml.load without a safe loader"
    return None


def test_no_source_runs_what_is_in_a_file():
    files = sources()
    assert {"demo.py", "train_vqa.py"} <= {path.name for path in files}
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}: {problem}"
        for path in files
        for name, call in calls(path)
        if (problem := unsafe(name, call))
    ]
    # Tests read pickles that they have just made.
    assert [line for line in found if not (line.startswith("tests/") and line.endswith(PICKLE))] == []


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "pickle.load(file)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
    ],
)
def test_the_search_finds_what_it_looks_for(tmp_path, source):
    (tmp_path / "a.py").write_text(f"x = [{source}]")
    assert [unsafe(name, call) for name, call in calls(tmp_path / "a.py")] != [None]


class Command:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch was_run",)


def weights(content: object) -> Callable:
    def write(folder: Path) -> None:
        torch.save(content, folder / "pytorch_model.bin")

    return write


def plain_pickle(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Command()}))


def training_state(folder: Path) -> None:
    (folder / "checkpoint.json").write_text('{"files": {}, "processes": 1}')
    torch.save({"own": {}, "random": {"python": Command()}}, folder / "process_00000.pt")


def class_table(folder: Path) -> None:
    torch.save({"labels": ["a"], "features": Command()}, folder / "coco_features.pt")


def words(folder: Path) -> None:
    torch.save({0: {"features": torch.zeros(64), "text": Command()}}, folder / "words.pt")


CASES = {
    "weights": (weights(Command()), lambda folder: load_model(PrismerCaption, folder)),
    "nested": (
        weights({"weight": torch.zeros(2), "inner": {"list": [1, (Command(),)]}}),
        lambda folder: load_model(PrismerCaption, folder),
    ),
    "plain pickle": (plain_pickle, lambda folder: read_weights(folder / "pytorch_model.bin")),
    "training state": (training_state, lambda folder: load_process(folder, Accelerator(cpu=True))),
    "class table": (class_table, lambda folder: read_class_tables(folder, ["coco"])),
    "words": (words, lambda folder: read_words(folder / "words.pt")),
}


@pytest.mark.parametrize("name", CASES)
def test_a_malicious_file_is_refused_in_one_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write, read = CASES[name]
    write(tmp_path)
    with pytest.raises(UserError, match=str(tmp_path)) as error:
        read(tmp_path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "was_run").exists()


def test_the_command_is_not_harmless(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Command()))
    assert (tmp_path / "was_run").exists()
