"""kill -9 at any moment, then a run to the end: the same bytes as of a run that was left alone."""

import os
import random
import runpy
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path

import pytest
import torch
import yaml

from dataset.label_manifest import MANIFEST, read_manifest
from experts.runner import generate_labels
from nano.expert.backend import LABELS
from tests.experts.conftest import EXPERTS, content
from tests.forked_script import FORK, forked_script, own_progress
from tests.parity.released_experts import write_expert

NANO = dict.fromkeys(LABELS, "nano")


def count(folder: Path) -> int:
    """How many files there are but manifests; they come and go meanwhile, so none is opened."""
    return sum(path.is_file() and path.name != MANIFEST for path in folder.rglob("*"))


def killed(action: Callable[[], object], due: Callable[[], bool]) -> bool:
    """Does something in a process that is killed when that is due; False if it came to its end before."""

    def run() -> None:
        os.nice(5)  # the process that watches it comes first
        own_progress()
        action()

    child = FORK.Process(target=run)
    child.start()
    while child.is_alive():
        if due():
            child.kill()
            break
        time.sleep(0.002)
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Of torch, which must not have others in a process that is forked; and they would round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("expert", "most", "batch_size"), [("nano", 16, 2), ("edge", 1, 1)])
def test_a_run_that_is_killed_again_and_again(scenes, tmp_path, expert, most, batch_size):
    backends, images = NANO, scenes
    if expert != "nano":  # a network of the paper
        images = tmp_path / "images"
        images.mkdir()
        for name in ("one.png", "two.jpg"):
            shutil.copy(scenes / "a" / name, images)
        backends = {expert: write_expert(expert, tmp_path / "weights")}

    def label(folder: Path) -> None:
        settings = {"weights": tmp_path / "weights", "batch_size": batch_size}
        generate_labels(images, folder, backends, num_workers=0, **settings)

    whole, broken, draw = tmp_path / "whole", tmp_path / "broken", random.Random(most)
    label(whole)

    def label_a_little() -> bool:
        enough = count(broken) + draw.randint(1, most)
        return killed(lambda: label(broken), lambda: count(broken) >= enough)

    kills = sum(takewhile(bool, (label_a_little() for _ in range(100))))
    assert 1 <= kills < 100
    assert content(broken, manifests=False) == content(whole, manifests=False)


def test_labels_that_are_overwritten(scenes, tmp_path, grey):
    def label(folder: Path, shift: int, overwrite: bool = False) -> None:
        backends = {"depth": {"name": "grey", "shift": shift}}
        generate_labels(scenes, folder, backends, num_workers=0, batch_size=2, overwrite=overwrite)

    def some_are_new() -> bool:
        return read_manifest(broken / "depth").options["shift"] == 1 and count(broken) > 0

    broken, whole = tmp_path / "broken", tmp_path / "whole"
    label(broken, shift=0)
    assert killed(lambda: label(broken, shift=1, overwrite=True), some_are_new)
    label(broken, shift=1)
    label(whole, shift=1)
    assert content(broken, manifests=False) == content(whole, manifests=False)


def test_the_command(scenes, tmp_path):
    def labelled() -> int:
        return sum(all((broken / expert / name).is_file() for expert in LABELS) for name in names)

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    generate_labels(scenes, whole, NANO, num_workers=0)
    names = [path.relative_to(whole / "depth") for path in (whole / "depth").rglob("*.png")]
    config = tmp_path / "experts.yaml"
    settings = {"data_path": str(scenes), "backends": NANO, "num_workers": 2, "batch_size": 2}
    config.write_text(yaml.safe_dump(settings | {"save_path": str(broken)}))

    def generate() -> None:
        sys.argv = ["generate.py", "--config", str(config)]
        runpy.run_path(str(EXPERTS / "generate.py"), run_name="__main__")

    assert killed(generate, lambda: labelled() > 0)
    before = labelled()
    done = forked_script("experts/generate.py", "--config", config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"6 images: {6 - before} labelled, {before} had labels\n"
    assert content(broken, manifests=False) == content(whole, manifests=False)
