"""kill -9 at any moment, then a run to the end: the same bytes as of a run that was left alone."""

import os
import random
import runpy
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing.process import BaseProcess
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
    """How many files of labels there are; they come and go meanwhile, so none is opened."""
    return sum(path.is_file() and path.name != MANIFEST for path in folder.rglob("*"))


def forked(action: Callable[[], object]) -> BaseProcess:
    """Starts a process that does something, with less of the processor than this one, which watches it."""

    def run() -> None:
        os.nice(5)
        own_progress()
        action()

    child = FORK.Process(target=run)
    child.start()
    return child


def kill_when(due: Callable[[], bool], alive: Callable[[], bool], process: int) -> bool:
    """Kills a process when it is due; False if it came to its end before."""
    while alive():
        if due():
            os.kill(process, signal.SIGKILL)
            return True
        time.sleep(0.002)
    return False


def kill_after(files: int, folder: Path, child: BaseProcess) -> bool:
    """Kills a process when it has written so many files; False if it came to its end before."""
    start = count(folder)
    return kill_when(lambda: count(folder) >= start + files, child.is_alive, child.pid)


def labelled(folder: Path, names: Iterable[str]) -> int:
    """How many images have all their labels, of those whose labels have these names."""
    images: dict[str, bool] = {}
    for name in names:
        image = name.split("/", 1)[1]
        images[image] = images.get(image, True) and (folder / name).is_file()
    return sum(images.values())


def label_with_kills(folder: Path, label: Callable[[], object], most: int) -> int:
    """Labels in processes that are killed after at most so many files, until one comes to its end."""
    draw = random.Random(most)
    for kills in range(100):
        child = forked(label)
        killed = kill_after(draw.randint(1, most), folder, child)
        child.join()
        if not killed:
            assert child.exitcode == 0
            return kills
    raise AssertionError("never came to its end")


def check(backends: Mapping, data: Path, folder: Path, most: int, **settings: object) -> None:
    """Compares the labels of a run that was killed again and again with those of one that was not."""
    labels = {name: folder / name for name in ("whole", "killed")}
    for path in labels.values():
        path.mkdir(parents=True)
    generate_labels(data, labels["whole"], backends, num_workers=0, **settings)
    kills = label_with_kills(
        labels["killed"],
        lambda: generate_labels(data, labels["killed"], backends, num_workers=0, **settings),
        most,
    )
    assert kills >= 1
    assert content(labels["killed"], manifests=False) == content(labels["whole"], manifests=False)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Of torch, which must not have others in a process that is forked; and they would round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_nano(scenes, tmp_path):
    check(NANO, scenes, tmp_path, most=16, batch_size=2)


def test_a_network_of_the_paper(scenes, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name in ("one.png", "two.jpg"):
        shutil.copy(scenes / "a" / name, images)
    backends = {"edge": write_expert("edge", tmp_path / "weights")}
    check(backends, images, tmp_path, most=1, weights=tmp_path / "weights", batch_size=1)


def test_labels_that_are_overwritten(scenes, tmp_path, grey):
    def label(folder: Path, shift: int, overwrite: bool = False) -> None:
        backends = {"depth": {"name": "grey", "shift": shift}}
        generate_labels(scenes, folder, backends, num_workers=0, batch_size=2, overwrite=overwrite)

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    label(killed, shift=0)
    child = forked(lambda: label(killed, 1, True))
    while read_manifest(killed / "depth").options["shift"] == 0:
        assert child.is_alive()
        time.sleep(0.001)
    assert kill_after(1, killed, child)
    child.join()
    label(killed, shift=1)
    label(whole, shift=1)
    assert content(killed, manifests=False) == content(whole, manifests=False)


def test_the_command(scenes, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    generate_labels(scenes, whole, NANO, num_workers=0)
    names = [name for name in content(whole, manifests=False) if name.endswith(".png")]
    config = tmp_path / "experts.yaml"
    settings = {"data_path": str(scenes), "backends": NANO, "num_workers": 2, "batch_size": 2}
    config.write_text(yaml.safe_dump(settings | {"save_path": str(killed)}))

    def generate() -> None:
        sys.argv = ["generate.py", "--config", str(config)]
        runpy.run_path(str(EXPERTS / "generate.py"), run_name="__main__")

    child = forked(generate)
    assert kill_when(lambda: labelled(killed, names) > 0, child.is_alive, child.pid)
    child.join()
    assert child.exitcode == -signal.SIGKILL
    before = labelled(killed, names)
    done = forked_script("experts/generate.py", "--config", config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"6 images: {6 - before} labelled, {before} had labels\n"
    assert content(killed, manifests=False) == content(whole, manifests=False)
