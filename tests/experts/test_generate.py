"""The commands; one is run as a user runs them: by path, from elsewhere, without PYTHONPATH."""

import json
import os
import resource
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from common.errors import UserError
from experts import generate
from experts.finite import check_finite
from experts.runner import UNREADABLE_LOG
from nano.expert.backend import LABELS
from tests.experts.conftest import EXPERTS
from tests.forked_script import forked_script


def label(script: str, *arguments: object, cwd: Path, processes: int = 1) -> subprocess.CompletedProcess:
    """Runs a command in a forked process."""
    return forked_script(f"experts/{script}", *arguments, cwd=cwd, processes=processes)


@pytest.fixture
def config(tmp_path: Path, scenes: Path) -> Path:
    path = tmp_path / "experts.yaml"
    content = {"data_path": str(scenes), "save_path": "labels", "backends": dict.fromkeys(LABELS, "nano")}
    path.write_text(yaml.safe_dump(content | {"num_workers": 0, "batch_size": 4}))
    return path


def test_one_expert_then_all_then_nothing_left_to_do(config, scenes, tmp_path):
    done = label("generate_depth.py", "--config", config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "6 images: 6 labelled, 0 had labels" in done.stdout
    assert os.listdir(tmp_path / "labels") == ["depth"]
    done = label("generate.py", "--config", config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {len(list((tmp_path / "labels" / expert).rglob("*.png"))) for expert in LABELS} == {6}
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "labels").rglob("*")}
    done = label("generate.py", "--config", config, cwd=tmp_path)
    assert "6 images: 0 labelled, 6 had labels" in done.stdout
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "labels").rglob("*")}


def main(*arguments: object, experts: list[str] | None = None) -> int:
    """The exit code of the command, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["generate.py", *map(str, arguments)])
        return generate.main(experts)


def test_flags_come_before_the_config(scenes, tmp_path, grey, capsys):
    content = {"data_path": "nowhere", "save_path": str(tmp_path / "of config"), "datasets": ["x"]}
    content["backends"] = dict.fromkeys(("depth", "obj_detection", "ocr_detection"), "grey")
    path = tmp_path / "experts.yaml"
    path.write_text(yaml.safe_dump(content | {"num_workers": 0}))
    given = ("--config", path, "--data_path", scenes, "--save_path", tmp_path / "labels")
    assert main(*given, "--experts", "depth,ocr_detection", "--datasets", "a/b") == 0
    assert capsys.readouterr().out == "3 images: 3 labelled, 0 had labels\n"
    assert sorted(os.listdir(tmp_path / "labels")) == ["depth", "ocr_detection"]
    assert os.listdir(tmp_path / "labels" / "depth" / "a") == ["b"]
    assert main(*given, "--datasets", "all", experts=["depth", "edge"]) == 0
    assert capsys.readouterr().out == "6 images: 3 labelled, 3 had labels\n"
    assert main(*given, "--experts", "depth", "--datasets", "all", "--overwrite") == 0
    assert capsys.readouterr().out == "6 images: 6 labelled, 0 had labels\n"
    with pytest.raises(UserError, match="has no expert 'edge'; it has: depth, obj_detection, ocr_detection"):
        main(*given, "--experts", "depth,edge")
    with pytest.raises(UserError, match=r"image folder .*/x is missing"):
        main(*given)
    assert not (tmp_path / "of config").exists()

    grey.before_decoding = lambda target: check_finite(float("nan"))
    assert main(*given, "--datasets", "all", "--experts", "obj_detection") == 3
    log = tmp_path / "labels" / UNREADABLE_LOG
    told = capsys.readouterr()
    assert told.out == "6 images: 0 labelled, 0 had labels\n"
    assert f"6 images got no label of some expert, listed in {log}\n" in told.err
    assert "unreadable" not in told.err.replace(str(log), "")
    assert told.err.count("obj_detection (grey): the network's output was not finite for any image (6)") == 1


def test_unreadable_images_give_exit_code_3(config, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    Image.new("RGB", (40, 30)).save(data / "good.png")
    (data / "bad.png").write_bytes(b"no image")
    command = [sys.executable, EXPERTS / "generate_edge.py", "--config", config, "--data_path", data]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 3
    assert "1 unreadable images skipped" in done.stderr
    assert "bad.png\tcannot identify" in (tmp_path / "labels" / UNREADABLE_LOG).read_text()
    assert sorted(os.listdir(tmp_path / "labels" / "edge")) == ["good.png", "manifest.json"]


def test_two_processes_share_the_images(config, scenes, tmp_path):
    settings = yaml.safe_load(config.read_text())
    settings["backends"] = {"depth": "nano", "normal": {"name": "nano", "batch_size": 2}}  # two passes
    config.write_text(yaml.safe_dump(settings))
    # One label is there, so that an image is one process's in the first pass, another's in the second.
    (tmp_path / "labels" / "depth" / "a" / "b").mkdir(parents=True)
    (tmp_path / "labels" / "depth" / "a" / "b" / "dotted.name.png").touch()
    (scenes / "a" / "broken.png").touch()
    try:
        done = label("generate.py", "--config", config, cwd=tmp_path, processes=2)
    finally:
        (scenes / "a" / "broken.png").unlink()
    assert done.stdout.count("7 images: 6 labelled, 0 had labels") == 1, done.stderr
    for expert in ("depth", "normal"):
        assert len(list((tmp_path / "labels" / expert).rglob("*.png"))) == 6
    assert done.stderr.count("depth: kept 1 labels without manifest.json, made elsewhere") == 1
    assert len((tmp_path / "labels" / UNREADABLE_LOG).read_text().splitlines()) == 1


def test_a_file_that_cannot_be_written_whole_is_not_there(config, tmp_path):
    """The system refuses what is larger than 2500 bytes, as it would on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2500, before[1]))
    try:
        done = label("generate.py", "--config", config, cwd=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert done.returncode == 2
    message = done.stderr.splitlines()[-1]
    assert message == "error: cannot write labels below labels: File too large; choose another label folder"
    assert not list((tmp_path / "labels").rglob(".*"))
    for path in (tmp_path / "labels").rglob("*.*"):
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.stat().st_size:
            Image.open(path).load()
    done = label("generate.py", "--config", config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {len(list(folder.rglob("*.png"))) for folder in (tmp_path / "labels").iterdir()} == {6}


@pytest.mark.parametrize(
    ("script", "file"),
    [
        ("depth", "dpt_hybrid-midas-501f0c75.pt"),
        ("normal", "scannet.pt"),
        ("segmentation", "model_final_f07440.pkl"),
        ("edge", "10_model.pth"),
        ("objdet", "Unified_learned_OCIM_RS200_6x+2x.pth"),
        ("ocrdet", "icdar2015_hourglass88.pth"),
    ],
)
def test_without_the_released_files_the_command_that_fetches_them_is_named(
    scenes, tmp_path, monkeypatch, capsys, script, file
):
    """With the settings that the project comes with, in a folder with images and nothing else."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(scenes)
    monkeypatch.setattr(sys, "argv", [f"generate_{script}.py", "--save_path", "labels"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(EXPERTS / f"generate_{script}.py"), run_name="__main__")
    assert end.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: experts/expert_weights/{file}: missing, and ")
    assert printed.endswith("; fetch it with: python download_checkpoints.py --download_experts=True\n")
    assert printed.count("\n") == 1
    assert os.listdir(tmp_path) == ["data"]


@pytest.mark.parametrize(
    ("script", "change", "message"),
    [
        ("generate.py", {"data_path": "nowhere"}, "image folder nowhere is missing"),
        ("generate.py", {"batchsize": 4}, "experts.yaml: unknown key 'batchsize'"),
        ("generate.py", {"backends": {"depth": "pen"}}, "has no backend 'pen'; it has: nano"),
        ("generate.py", {"backends": {"smell": "nano"}}, "unknown expert 'smell'"),
        ("generate_segmentation.py", {"backends": {"depth": "nano"}}, "key 'backends' names no network for"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(config, tmp_path, script, change, message):
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | change))
    done = label(script, "--config", config, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == ["experts.yaml"]
