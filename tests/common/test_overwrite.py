"""Commands replace their own files and files that the user confirms, and no others."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import demo
import demo_vis
import experts.build_class_tables
import experts.inspect_labels
import generate_config
import helpers.checkpoints.convert
import nano.expert.train
import nano.train_tokenizer
from common.cli import run
from common.errors import UserError
from common.files import ROOT, leads_out, write_text
from common.overwrite import NOTES, Outputs
from dataset.shards.__main__ import main as shards
from dataset.shards.shard_folder import open_folder
from dataset.shards.writer import write_shard
from nano.scenes.__main__ import main as scenes

FOREIGN = b"another's"


def write(path: Path, content: str = "ours", *, command: str = "test", overwrite: bool = False) -> None:
    outputs = Outputs(command, overwrite)
    outputs.check([path])
    with outputs.writing(path):
        write_text(path, content)


def test_a_command_replaces_what_it_wrote(tmp_path):
    for content in ("one", "two"):
        write(tmp_path / "new" / "a.txt", content)
        assert (tmp_path / "new" / "a.txt").read_text() == content


def test_one_line_names_the_file_and_the_flag(tmp_path):
    (tmp_path / "a").write_bytes(FOREIGN)
    (tmp_path / "b").write_bytes(FOREIGN)
    with pytest.raises(UserError) as error:
        Outputs("demo.py", False, "take another").check([tmp_path / "a", tmp_path / "b", tmp_path / "c"])
    assert str(error.value) == (
        f"{tmp_path}/a and 1 more: not written by demo.py, or changed since; take another, or "
        "replace it with --overwrite"
    )


CONFIRMED = {  # files that are replaced if the user confirms it
    "another's": lambda path: path.write_bytes(FOREIGN),
    "changed since": lambda path: (write(path), path.write_bytes(FOREIGN)),
    "of another command": lambda path: write(path, command="other"),
    "a link to our file": lambda path: (write(path), path.rename(path.with_name("moved")), path.symlink_to("moved")),
    "a link to a file": lambda path: (path.with_name("theirs").write_bytes(FOREIGN), path.symlink_to("theirs")),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "beside damaged notes": lambda path: (
        path.write_bytes(FOREIGN),
        path.with_name(NOTES).write_bytes(b'[]\n{"name": "a"}\n\xff\n{"name": "a", "comm'),
    ),
}
REFUSED = {  # places where no file can be written
    "a folder": Path.mkdir,
    "a link to a folder": lambda path: path.symlink_to(path.parent),
    "a pipe": os.mkfifo,
    "a link to a device": lambda path: path.symlink_to("/dev/null"),
    "beside notes that are a link": lambda path: (
        path.with_name("theirs").write_bytes(FOREIGN),
        path.with_name(NOTES).symlink_to("theirs"),
    ),
}


def state(path: Path) -> dict[str, object]:
    """All that is in a folder, links as links."""
    return {
        str(each): os.readlink(each) if each.is_symlink() else each.is_file() and each.read_bytes()
        for each in path.rglob("*")
    }


@pytest.mark.parametrize("kind", CONFIRMED)
def test_another_file_is_replaced_if_the_user_confirms_it(tmp_path, kind):
    CONFIRMED[kind](tmp_path / "a")
    before = state(tmp_path)
    with pytest.raises(UserError, match="replace it with --overwrite"):
        write(tmp_path / "a")
    assert state(tmp_path) == before
    write(tmp_path / "a", overwrite=True)
    after = state(tmp_path)
    assert after.pop(str(tmp_path / "a")) == b"ours"  # and what a link named is as it was
    kept = {name: content for name, content in before.items() if Path(name).name not in ("a", NOTES)}
    assert {name: content for name, content in after.items() if Path(name).name != NOTES} == kept
    write(tmp_path / "a")


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("overwrite", [False, True])
def test_some_places_take_no_file(tmp_path, kind, overwrite):
    REFUSED[kind](tmp_path / "a")
    before = state(tmp_path)
    with pytest.raises(UserError):
        write(tmp_path / "a", overwrite=overwrite)
    assert state(tmp_path) == before


@pytest.mark.parametrize("path", ["/dev/null", "/proc/new/a", "file/a", "nothing/a", NOTES, "x" * 300])
def test_some_paths_take_no_file(tmp_path, path):
    (tmp_path / "file").touch()
    (tmp_path / "nothing").symlink_to("nowhere")
    with pytest.raises(UserError):
        write(tmp_path / path, overwrite=True)


def test_a_folder_that_cannot_be_written_to_is_found_out_before_the_work(monkeypatch, tmp_path):
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(UserError, match=f"{tmp_path} cannot be written to; take JSON"):
        Outputs("test", True, "take JSON").check([tmp_path / "new" / "a"])


def test_what_came_or_was_changed_since_the_check_is_kept(tmp_path):
    write(tmp_path / "a")
    outputs = Outputs("test", overwrite=False)
    outputs.check([tmp_path / "a", tmp_path / "b"])
    for name in "ab":
        (tmp_path / name).write_bytes(FOREIGN)
        with pytest.raises(UserError), outputs.writing(tmp_path / name):
            pytest.fail("is not to be written")


def test_a_source_is_no_target_even_if_it_is_ours(tmp_path):
    write(tmp_path / "a")
    os.link(tmp_path / "a", tmp_path / "same")
    with pytest.raises(UserError, match="--overwrite"):
        Outputs("test", overwrite=False).check([tmp_path / "a"], sources=[tmp_path / "same"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("a/b", False), ("a/./..b", False), ("/a", True), ("a/../../b", True), ("..", True), ("", True)),
        *(("link/a", True), ("inner/a", False), ("a\0b", True)),
    ],
)
def test_names_that_lead_out_of_a_folder(tmp_path, name, expected):
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    (tmp_path / "in" / "inner").symlink_to("a")
    assert leads_out(name, tmp_path / "in") is expected


@pytest.mark.parametrize("name", ["../outside.tar", "/tmp/outside.tar", "a/../../outside.tar"])
def test_a_list_of_shards_names_none_outside_its_folder(tmp_path, name):
    write_shard(tmp_path / "outside.tar", [("a.txt", b"a")])
    (tmp_path / "outside.tar.index").unlink()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "shards.json").write_text(json.dumps({"shards": [name], "records": 1}))
    with pytest.raises(UserError, match="leads out of the folder"):
        open_folder(tmp_path / "in")
    assert not (tmp_path / "outside.tar.index").exists()


def test_another_file_where_an_index_would_be_is_kept(tmp_path, caplog):
    write_shard(tmp_path / "0.tar", [("a.txt", b"a")])
    index = tmp_path / "0.tar.index"
    index.write_bytes(FOREIGN)
    assert open_folder(tmp_path).read("a.txt") == b"a"
    assert index.read_bytes() == FOREIGN
    assert "is not ours and is kept" in caplog.text


# The commands: what each is called with, and the files that it is going to write.


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """A folder to work in, with an image, its label, a list and shards."""
    monkeypatch.chdir(tmp_path)
    for path in ("images/a.png", "labels/depth/images/a.png"):
        Path(path).parent.mkdir(parents=True)
        Image.new("L", (8, 8)).save(path)
    Path("images/list.json").write_text('[{"image": "a.png", "caption": "A cat."}]')
    Path("names.txt").write_text("cat\n")
    write_shard(Path("shards/0.tar"), [("a.png", b"a"), ("more/b.txt", b"b")])
    shutil.copytree(ROOT / "nano" / "caption_prismerz_nano", "model")
    shutil.copytree(ROOT / "configs", "configs")
    return tmp_path


DEMO = "demo.py --config configs/caption.yaml --exp_name prismerz_nano --images images"
VIS = "demo_vis.py --images images --labels labels --only depth --out out"
INSPECT = "inspect_labels --data_path images --save_path labels/depth --experts edge --report"
CONVERT = "convert model"
CONFIG = "generate_config.py --main_ip 127.0.0.1 --rank 0 --num_machines 1 --config_file"
SCENES = "scenes --out out --train 1 --test 1 --size 64 --workers 1 --no-labels"
SHARDS = "--data_path shards --num_workers 0 --out out"
PACK = "shards pack --data_path images --label_path nowhere --out out --num_workers 0"
TABLES = "build_class_tables --names names.txt --clip nowhere --out"
TOKENIZER = "train_tokenizer --lists images/list.json --vocab_size 300 --out"
NANO = "nano.train --data . --epochs 1 --out"
COMMANDS: list[tuple[str, Callable[[], object], str]] = [
    (DEMO, demo.main, "images/a.txt"),
    (f"{DEMO} --json out/a.json", demo.main, "out/a.json"),
    (f"{DEMO} --json --attribution out", demo.main, "out/images/a.json"),
    (VIS, demo_vis.main, "out/a.png"),
    (VIS, demo_vis.main, "out/report.html"),
    (f"{INSPECT} out/a.json", experts.inspect_labels.main, "out/a.json"),
    (f"{CONVERT} out/a.safetensors", helpers.checkpoints.convert.main, "out/a.safetensors"),
    (f"{CONVERT} model/model.safetensors", helpers.checkpoints.convert.main, "model/model.safetensors"),
    (f"{CONFIG} out/a.yaml", generate_config.main, "out/a.yaml"),
    (SCENES, scenes, "out/coco_karpathy_train.json"),
    (f"{SCENES} --classes", scenes, "out/imagenet/imagenet_class.json"),
    ("scenes --tables out", scenes, "out/background.npz"),
    (f"shards unpack {SHARDS}", shards, "out/more/b.txt"),
    ("shards index shards", shards, "shards/shards.json"),
    (PACK, shards, "out/list.json"),
    (PACK, shards, "out/shards.json"),
    (f"{TABLES} out/a.npz", experts.build_class_tables.main, "out/a.npz"),
    (f"{TOKENIZER} out", nano.train_tokenizer.main, "out/merges.txt"),
    (f"{NANO} out", nano.expert.train.main, "out/metrics.json"),
]


def call(command: str, main: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> object:
    """The exit code of a command."""
    monkeypatch.setattr(sys, "argv", command.split())
    with pytest.raises(SystemExit) as stop:
        run(main)
    return stop.value.code


@pytest.mark.parametrize(("command", "main", "target"), COMMANDS)
def test_no_command_replaces_another_file(data, monkeypatch, capsys, command, main, target):
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():  # as the one that is converted onto itself
        path.write_bytes(FOREIGN)
    before = state(data)
    assert call(command, main, monkeypatch) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert target in error
    assert "--overwrite" in error
    assert state(data) == before


@pytest.mark.parametrize(
    ("command", "main", "target"),
    [entry for entry in COMMANDS if not entry[0].startswith((TABLES, NANO, f"{CONVERT} model"))],
)
def test_a_command_replaces_its_own_file_and_with_the_flag_any(data, monkeypatch, command, main, target):
    code = call(command, main, monkeypatch)
    written = Path(target).read_bytes()
    assert call(command, main, monkeypatch) == code
    assert Path(target).read_bytes() == written
    Path(target).write_bytes(FOREIGN)
    assert call(command, main, monkeypatch) == 2
    assert call(f"{command} --overwrite", main, monkeypatch) == code
    assert Path(target).read_bytes() == written
