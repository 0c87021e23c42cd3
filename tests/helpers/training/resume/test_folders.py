"""Folders of checkpoints: complete or absent, checked against their marker, the oldest removed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from accelerate import Accelerator

from common.errors import UserError
from helpers.checkpoints.experiments import (
    EMBEDDED,
    find_experiment,
    has_weights,
    newest_whole,
    refuse_to_start_over,
    remove_earlier_run,
    resumable_checkpoints,
    set_metrics_aside,
)
from helpers.training.resume.folders import (
    MARKER,
    begin_checkpoint,
    checkpoint_folder,
    complete_checkpoint,
    damage,
    find_checkpoints,
    fingerprint,
    read_marker,
    remove_old,
)


def write(experiment: Path, step: int) -> Path:
    """A checkpoint of two files."""
    folder = checkpoint_folder(experiment, step)
    temporary = begin_checkpoint(folder)
    files = {}
    for name, content in (("a", b"first" * 1000), ("b", b"second")):
        (temporary / name).write_bytes(content)
        files[name] = fingerprint(temporary / name)
    complete_checkpoint(folder, {"progress": {"step": step}}, files)
    return folder


def change_a_byte(folder: Path) -> None:
    content = bytearray((folder / "a").read_bytes())
    content[70] ^= 1
    (folder / "a").write_bytes(content)


def cut_off(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-3])


DAMAGES = {
    "truncated": (cut_off("a"), "a has 4997 bytes, not 5000"),
    "changed": (change_a_byte, "a has another hash"),
    "gone": (lambda folder: (folder / "b").unlink(), "b is missing"),
    "no marker": (lambda folder: (folder / MARKER).unlink(), f"{MARKER} is missing"),
    "half a marker": (cut_off(MARKER), "damaged"),
    "another marker": (lambda folder: (folder / MARKER).write_text('{"files": []}'), "damaged"),
    "odd marker": (lambda folder: (folder / MARKER).write_text('{"files": {"a": 1}}'), "a cannot be checked"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(tmp_path, monkeypatch, capsys, kind):
    monkeypatch.chdir(tmp_path)
    experiment = Path("logging/caption_x")
    before, newest = write(experiment, 8), write(experiment, 12)
    accelerator = Accelerator(cpu=True)
    assert newest_whole(resumable_checkpoints("caption", "x"), accelerator) == newest
    assert capsys.readouterr().err == ""
    harm, reason = DAMAGES[kind]
    harm(newest)
    assert reason in damage(newest)
    assert newest_whole(resumable_checkpoints("caption", "x"), accelerator) == before
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {newest} is damaged: ")
    assert reason in line
    harm(before)
    with pytest.raises(UserError, match="no checkpoint there is whole"):
        newest_whole(resumable_checkpoints("caption", "x"), accelerator)


def test_processes_share_the_hashing(tmp_path):
    folder = write(tmp_path, 1)
    change_a_byte(folder)
    assert damage(folder, part=1, parts=2) is None
    assert "a has another hash" in damage(folder, part=0, parts=2)


def test_a_checkpoint_of_which_a_part_is_on_another_machine_is_none(tmp_path):
    folder = checkpoint_folder(tmp_path, 5)
    begin_checkpoint(folder)
    with pytest.raises(FileNotFoundError, match="a was written elsewhere"):
        complete_checkpoint(folder, {}, {"a": {"bytes": 1, "sha256": ""}})
    assert find_checkpoints(tmp_path) == []


def test_a_damaged_checkpoint_of_the_same_step_is_replaced(tmp_path):
    change_a_byte(write(tmp_path, 5))
    assert damage(write(tmp_path, 5)) is None


def test_the_last_ones_are_kept_and_newer_ones_left_alone(tmp_path):
    """Newer than the step that is reached is what was damaged when the run went back to an older one."""
    for step in (5, 20, 100, 99999999, 123456789):
        write(tmp_path, step)
    remove_old(tmp_path, keep=2, step=100)
    left = [read_marker(path)["progress"]["step"] for path in find_checkpoints(tmp_path)]
    assert left == [123456789, 99999999, 100, 20]


def test_a_new_run_does_not_write_between_the_checkpoints_of_another(tmp_path):
    files = ["model.safetensors", "model.json", "metrics.jsonl"]
    (tmp_path / "metrics.jsonl").touch()  # of a run that was stopped before it saved anything
    refuse_to_start_over(tmp_path, files)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UserError, match=r"model\.safetensors: .*another --exp_name, or .* --overwrite"):
        refuse_to_start_over(tmp_path, files)
    write(tmp_path, 5)
    with pytest.raises(UserError, match=r"step_00000005.*--from_checkpoint.*--overwrite"):
        refuse_to_start_over(tmp_path, files)
    refuse_to_start_over(tmp_path, files, overwrite=True)
    (tmp_path / "results").mkdir()
    remove_earlier_run(tmp_path, files)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoints", "results"}
    assert find_checkpoints(tmp_path) == []


def test_metrics_of_a_run_that_saved_nothing_stay_apart(tmp_path):
    for text in ("one", "two", ""):
        (tmp_path / "metrics.jsonl").write_text(text)
        set_metrics_aside(tmp_path)
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"metrics_before.jsonl": "one", "metrics_before_2.jsonl": "two", "metrics.jsonl": ""}


def test_experiments_of_ones_own_come_first_and_those_there_are_are_listed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_experiment("caption", "prismer_nano") == EMBEDDED / "caption_prismer_nano"
    for name, file in (
        *(("caption_zebra", "pytorch_model.bin"), ("caption_ape", "model.safetensors")),
        *(("vqa_bee", "model.safetensors"), ("caption_empty", "metrics.jsonl")),
        ("caption_prismer_nano", "model.safetensors"),
    ):
        (tmp_path / "logging" / name).mkdir(parents=True)
        (tmp_path / "logging" / name / file).touch()
    assert find_experiment("caption", "prismer_nano") == Path("logging/caption_prismer_nano")
    assert (has_weights("caption", "ape"), has_weights("caption", "empty")) == (True, False)
    with pytest.raises(UserError) as error:
        find_experiment("caption", "empty")
    listed = str(error.value).partition("there are: ")[2].split(", ")
    assert listed[0] == "ape"
    assert listed[-1] == "zebra"
    assert {"prismer_nano", "prismerz_nano"} < set(listed)
    assert not {"bee", "empty"} & set(listed)
    with pytest.raises(UserError, match="there is none for sound yet"):
        find_experiment("sound", "ape")
    with pytest.raises(UserError, match=r"logging/caption_ape: has weights, but no training state"):
        resumable_checkpoints("caption", "ape")
