"""demo.py, run as a user does: labels, captions, answers, and files that it leaves alone."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo import columns, print_table
from experts.dataset_images import ImageFile
from experts.preflight import unavailable
from tests.end_to_end.conftest import ROOT, script
from tests.forked_script import forked_script

DEMO_IMAGES = ROOT / "helpers" / "images"
SUFFIXES = {".png", ".jpg", ".jpeg"}


def write_folder(path: Path) -> Path:
    """A folder to work in, with copies of the six demo images and of the config."""
    shutil.copytree(DEMO_IMAGES, path / "helpers" / "images", ignore=shutil.ignore_patterns("*.txt", ".*"))
    (path / "configs").mkdir()
    shutil.copy(ROOT / "configs" / "caption.yaml", path / "configs")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path)


@pytest.fixture(scope="module")
def captioned(tmp_path_factory) -> tuple[Path, str, dict[str, bytes]]:
    """A folder in which demo.py ran without flags, what that printed, and the images before."""
    folder = write_folder(tmp_path_factory.mktemp("captioned"))
    before = content(folder / "helpers" / "images")
    done = script("demo.py", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout, before


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in SUFFIXES}


def test_six_images_get_captions_that_name_what_is_in_them(captioned):
    folder, printed, before = captioned
    images = folder / "helpers" / "images"
    assert content(images) == before
    assert {Path(name).suffix for name in before} == SUFFIXES
    named, found = 0, 0
    for name in before:
        caption = (images / name).with_suffix(".txt").read_text().strip()
        assert caption in printed
        # The files are named after what stands in front, such as blue_cone_bread_sign.
        told = {word.removesuffix("s") for word in re.findall(r"\w+", caption.lower())}
        words = {word.removesuffix("s") for word in Path(name).stem.split("_")}
        named, found = named + len(words), found + len(words & told)
    assert found >= 0.6 * named


def test_a_folder_of_odd_files(tmp_path, monkeypatch):
    images = tmp_path / "odd"
    (images / "deep" / "er").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 4), dtype=np.uint8)
    Image.fromarray(noise, "RGBA").save(images / "transparent.png")
    Image.fromarray(noise[..., 0], "L").save(images / "deep" / "grey.BMP")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise[..., :3]).save(images / "turned.jpg", exif=exif)
    Image.fromarray(noise[:1, :1, :3]).save(images / "deep" / "er" / "one pixel.webp")
    Image.fromarray(noise[..., 0], "L").save(images / "Größe\n1.gif")
    (images / "broken.jpg").write_bytes(b"no image")
    (images / "link.png").symlink_to(tmp_path / "nowhere.png")
    (images / "notes.md").write_text("not an image")
    arguments = ("--config", ROOT / "configs" / "caption.yaml", "--labels", tmp_path / "labels")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii:strict")  # of a terminal that lacks letters of the names
    done = forked_script("demo.py", "--images", images, *arguments, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "broken.jpg: cannot identify it as an image\n" in done.stderr
    assert "skipped, not readable as images or not labelled: broken.jpg, link.png\n" in done.stderr
    assert re.search(r"^Gr\\xf6\\xdfe\\n1\.gif +-\d", done.stdout, re.MULTILINE)
    assert "This model knows Scenes only" in done.stderr
    assert "seen as stored, on their side: turned.jpg; viewers" in done.stderr
    written = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.txt"))
    written.remove("Größe\n1.txt")
    assert written == ["deep/er/one pixel.txt", "deep/grey.txt", "transparent.txt", "turned.txt"]


def test_the_table_lines_up_whatever_the_names(capsys):
    names = ["a.png", "猫の写真.png", "u\u0308.png", "line\nbreak.png", "caf\udce9.png", f"{'x' * 60}.png"]
    print_table([{"image": name, "score": -0.5, "caption": "A"} for name in names], "caption", None)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(names)
    assert {columns(line) for line in lines[1:-1]} == {48 + 2 + 5 + 2 + 1}
    assert lines[-1] == f"{names[-1]}  -0.50  A"
    assert r"line\nbreak.png " in lines[4]
    assert r"caf\udce9.png " in lines[5]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--exp_name", "prismer_giant"), "no weights of experiment 'prismer_giant'"),
        (("--images", "nowhere"), "image folder nowhere is missing; check its name\n"),
        (("--config", "nowhere.yaml"), "nowhere.yaml: no such config file"),
        (("--device", "tpu"), "device 'tpu' is not here; there are: cpu"),
        (("--json", "configs"), "configs: is a folder; name a file"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(folder, arguments, expected):
    done = forked_script("demo.py", *arguments, cwd=folder)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert expected in done.stderr
    assert list(folder.rglob("*.txt")) == []
    if "prismer_giant" in arguments:
        assert "prismer_nano" in done.stderr  # those there are


def test_experts_that_cannot_run_are_named_with_the_way_to_go_on(folder):
    config = folder / "configs" / "caption.yaml"
    config.write_text(config.read_text() + "  backends: {depth: dpt, obj_detection: unidet, edge: dexined}\n")
    done = forked_script("demo.py", "--experts", "depth,normal,edge,ocr_detection", cwd=folder)
    assert done.returncode == 2
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: cannot be run: depth (experts/expert_weights/dpt_")
    assert "download_checkpoints.py --download_experts=True); edge (" in error
    assert "unidet" not in error  # which was not asked for
    assert error.endswith("go on without: --experts normal,ocr_detection")
    assert not (folder / "helpers" / "labels").exists()


def test_settings_that_cannot_work_are_refused_before_the_work(folder):
    done = forked_script("demo.py", "--beams", 1000, cwd=folder)
    assert done.returncode == 2
    assert "num_beams 1000 is more than half of the" in done.stderr
    done = forked_script("demo.py", "--max_length", 1, cwd=folder)
    assert done.returncode == 2
    assert "max_length 1 is no more than the prefix" in done.stderr
    assert not (folder / "helpers" / "labels").exists()
    done = forked_script("demo.py", "--labels", "/proc/x", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.endswith(
        "cannot write labels below /proc/x: No such file or directory; choose another label folder\n"
    )


def test_an_image_gets_no_labels_of_another_one(folder):
    """The images have one name, in folders of one name, and differ."""
    sources = sorted(DEMO_IMAGES.glob("*.png"))
    images, labels = (
        [folder.parent / f"{folder.name}_{place}" / "photos" / "x.png" for place in "ab"],
        folder / "labels",
    )
    for source, path in zip(sources, images, strict=False):
        path.parent.mkdir(parents=True)
        shutil.copy(source, path)

    def label_of(path: Path, *flags: object, changed: bool = False) -> bytes:
        experts = ("--experts", "depth,edge", "--labels", labels)
        done = forked_script("demo.py", "--images", path.parent, *experts, *flags, cwd=folder)
        assert done.returncode == 0, done.stderr
        line = f"labelled anew, since their labels are those of other images: {path}\n"
        assert (line in done.stderr) == changed, done.stderr
        return (labels / "depth" / "photos" / "x.png").read_bytes()

    first = label_of(images[0])
    second = label_of(images[1], changed=True)
    assert first != second
    assert label_of(images[1]) == second
    shutil.copy(images[0], images[1])  # in place
    assert label_of(images[1], changed=True) == first
    (labels / "image_hashes.json").unlink()
    (labels / "depth" / "photos" / "x.png").write_bytes(second)
    assert label_of(images[1]) == second  # labels without a hash are trusted
    (labels / "image_hashes.json").write_text("[")
    done = forked_script("demo.py", "--images", images[1].parent, "--labels", labels, cwd=folder)
    assert done.returncode == 2
    assert "image_hashes.json: damaged" in done.stderr


def test_the_reasons_why_experts_cannot_run(tmp_path, monkeypatch):
    def reasons(*experts: str, **backends: object) -> dict[str, str]:
        return unavailable([ImageFile("a.png", "a")], experts, backends, tmp_path, tmp_path)

    assert reasons("seg_coco", "edge", edge="nano") == {"seg_coco": "no network is named for it"}
    (tmp_path / "seg_coco").mkdir()
    (tmp_path / "seg_coco" / "a.png").touch()  # its labels are there
    assert reasons("seg_coco", "edge", edge="nano") == {}
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = reasons("depth", depth={"name": "depth_anything", "checkpoint": "nobody/nothing"})
    assert found == {"depth": "checkpoint 'nobody/nothing' is not here, and the hub cannot be reached for it"}
    monkeypatch.setitem(sys.modules, "kornia.models.dexined", None)
    monkeypatch.delitem(sys.modules, "experts.edge.dexined", raising=False)
    assert reasons("edge", edge="dexined") == {"edge": "the package kornia.models.dexined is not installed"}


def test_flags(folder):
    images = folder / "some photos"
    images.mkdir()
    for name in ("red_cone_sale_sign.png", "blue_cone_bread_sign.jpeg", "cyan_cones_blue_cube.jpg"):
        path = folder / "helpers" / "images" / name
        path.rename(images / f"ü {name}")
    (images / "broken.png").touch()
    before = {path.name: path.read_bytes() for path in images.iterdir()}
    flags = ("--experts", "ocr_detection,obj_detection", "--beams", 2, "--max_length", 30, "--batch_size", 2)
    flags += ("--labels", "labels", "--device", "cpu", "--images", images)
    done = forked_script("demo.py", *flags, "--json", "--attribution", "attribution", cwd=folder)
    assert done.returncode == 3, done.stderr
    for stage in ("loading ", "obj_detection, ocr_detection: ", "captions: "):
        assert stage in done.stderr
    told = json.loads(done.stdout)
    assert told["weights"].endswith("nano/caption_prismer_nano")
    assert (told["model"], told["question"], told["skipped"]) == ("prismer_nano", None, ["broken.png"])
    assert told["experts"] == ["obj_detection", "ocr_detection"]
    assert len(told["images"]) == 3
    assert "attribution: attribution/some photos\n" in done.stderr
    assert {path.name: path.read_bytes() for path in images.iterdir()} == before
    assert {path.name for path in (folder / "labels").iterdir() if path.is_dir()} == set(told["experts"])
    for row in told["images"]:
        attribution = json.loads((folder / f"attribution/some photos/{Path(row['image']).stem}.json").read_text())
        assert attribution["text"] == row["caption"]
        assert " ".join(attribution["words"]).capitalize() + "." == row["caption"]
        assert list(attribution["masses"]) == ["rgb", "obj_detection", "ocr_detection"]
        for masses in zip(*attribution["masses"].values(), strict=True):
            assert sum(masses) == pytest.approx(1, abs=1e-3)
        assert row["score"] < 0

    greedy = forked_script("demo.py", *flags, "--beams", 1, "--max_length", 8, "--json", "told.json", cwd=folder)
    assert greedy.returncode == 3, greedy.stderr
    short = json.loads((folder / "told.json").read_text())["images"]
    for row, longer in zip(short, told["images"], strict=True):
        assert row["caption"] in greedy.stdout
        assert len(row["caption"]) < len(longer["caption"])


def test_a_question_is_answered_for_each_image(captioned):
    folder, _, before = captioned
    images = folder / "helpers" / "images"
    captions = {path: path.stat().st_mtime_ns for path in images.glob("*.txt")}
    labels = {path: path.stat().st_mtime_ns for path in (folder / "helpers" / "labels").rglob("*.png")}
    assert len(labels) == 6 * 6
    done = forked_script("demo.py", "--question", "is there a sign", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Is there a sign?" in done.stdout
    answers = dict(re.findall(r"^(\S+\.\w+) +-?\d\.\d\d  (.*)$", done.stdout, re.MULTILINE))
    assert answers.keys() == before.keys()
    assert set(answers.values()) == {"yes", "no"}
    right = sum((answer == "yes") == ("sign" in name) for name, answer in answers.items())
    assert right >= 5
    assert content(images) == before
    # Answers are printed, captions are kept in files; labels that are there are not made again.
    assert {path: path.stat().st_mtime_ns for path in images.glob("*.txt")} == captions
    assert {path: path.stat().st_mtime_ns for path in labels} == labels
    done = forked_script("demo.py", "--question", "How many red cubes are there?", cwd=folder)
    answers = re.findall(r"^\S+\.\w+ +-?\d\.\d\d  (.*)$", done.stdout, re.MULTILINE)
    assert len(answers) == 6
    assert set(answers) <= set("0123456")
