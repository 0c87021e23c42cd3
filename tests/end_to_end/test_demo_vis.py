"""demo_vis.py: pictures, contact sheets and the report."""

import argparse
import base64
import io
import json
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.cli import UNREADABLE_IMAGES
from common.errors import UserError
from demo_vis import draw
from helpers.figures.image_page import MAX_BYTES
from helpers.figures.label_pictures import Panel, experts_in, label_names
from helpers.figures.report import Report
from helpers.inference.attribution_file import AttributedText, write_attribution
from model.attribution import Attribution
from tests.forked_script import forked_script

ROOT = Path(__file__).resolve().parent.parent.parent
DEMO_IMAGES = ROOT / "helpers" / "images"
SIZE = (48, 36)
CAPTION = "A red <ball> & a café"


def demo_vis(*arguments: object) -> subprocess.CompletedProcess[str]:
    return forked_script("demo_vis.py", *arguments, cwd=ROOT)


@pytest.fixture
def folders(tmp_path):
    """Two images, one in a subfolder, and labels of each kind for the first of them."""
    images, labels = tmp_path / "images", tmp_path / "labels"
    (images / "more").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(images / "one.png")
    (images / "one.txt").write_text(f"{CAPTION}\n", encoding="utf-8")
    Image.fromarray(noise).save(images / "more" / "two.JPG")

    index = np.full((SIZE[1], SIZE[0]), 255, np.uint8)
    index[10:20, 10:30] = 0
    for name in ("depth", "seg_scenes", "obj_detection", "ocr_detection", "normal"):
        (labels / name / "images").mkdir(parents=True)
    for name in ("depth", "seg_scenes", "obj_detection", "ocr_detection"):
        Image.fromarray(index).save(labels / name / "images" / "one.png")
    (labels / "obj_detection" / "images" / "one.json").write_text(json.dumps({"0": 3}))
    words = {"0": {"text": "open", "features": [0.0] * 64}}
    (labels / "ocr_detection" / "images" / "one.json").write_text(json.dumps(words))
    (labels / "normal" / "images" / "one.png").touch()  # empty: no label
    return images, labels, tmp_path / "pictures"


def attribution_for(folder: Path, question: str | None = None) -> Path:
    """Attribution for the caption of the first image."""
    words = CAPTION.split()
    uniform = torch.full((len(words), 1, 1), 0.5)
    log_probs = torch.zeros(len(words))
    found = Attribution(
        tuple(words),
        log_probs,
        {"rgb": uniform, "depth": uniform},
        torch.full((len(words), 64), 1 / 64),
        {"depth": log_probs - 1},
    )
    write_attribution(folder / "images" / "one.json", AttributedText(CAPTION, question, found))
    return folder


class Page(HTMLParser):
    """Reads a page; tags must be closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.pictures: list[tuple[str, Image.Image]] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        assert len(values) == len(attrs)
        if "id" in values:
            assert values["id"] not in self.ids
            self.ids.add(values["id"])
        if tag == "a":
            self.links.append(values["href"])
        if tag == "img":
            kind, content = values["src"].split(",")
            assert kind in ("data:image/png;base64", "data:image/jpeg;base64")
            self.pictures.append((values["alt"], Image.open(io.BytesIO(base64.b64decode(content)))))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_draws_a_picture_of_each_image_a_sheet_and_a_report(folders, tmp_path):
    images, labels, out = folders
    (images / "broken.png").write_bytes(b"no image")
    (images / "link.png").symlink_to(images / "nowhere.png")
    before = {path: path.read_bytes() for path in images.rglob("*") if path.is_file()}
    attribution = attribution_for(tmp_path / "attribution")
    done = demo_vis("--images", images, "--labels", labels, "--out", out, "--attribution", attribution)
    assert done.returncode == UNREADABLE_IMAGES, done.stderr
    assert done.stderr.splitlines() == [
        "skipped, not readable as an image: broken.png: cannot identify it as an image",
        "skipped, not readable as an image: link.png: No such file or directory",
    ]
    names = ["more/two.png", "one.png", "contact_sheet.png", "report.html"]
    assert done.stdout.splitlines() == [str(out / name) for name in names]
    pictures = {path.stem: Image.open(path) for path in out.rglob("*.png")}
    assert pictures["one"].width == pictures["two"].width > 1000
    assert pictures["one"].height > pictures["two"].height + 150  # the attribution
    # The second has no labels: its panels are grey, where the first has a bright depth map.
    depth = {name: np.ptp(np.asarray(pictures[name].convert("L"))[60:220, 330:600]) for name in ("one", "two")}
    assert depth["one"] > 150
    assert depth["two"] < 150
    assert all(path.stat().st_size <= MAX_BYTES for path in out.rglob("*.png"))
    assert {path: path.read_bytes() for path in images.rglob("*") if path.is_file()} == before

    text = (out / "report.html").read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>\n")
    page = Page(out / "report.html")
    assert {"script", "link", "iframe", "ball"}.isdisjoint(page.tags)
    assert "http" not in text
    assert "url(" not in text
    assert page.links == ["#image-1", "#image-2"]
    assert set(page.links) == {f"#{name}" for name in page.ids}
    assert page.texts.count(CAPTION) == 2  # in the sheet and above the labels
    assert {"more/two.JPG", "one.png", "no caption yet", "Depth", "open", "near"} <= set(page.texts)
    shown = [about for about, _ in page.pictures]
    assert {"Image of image 1", "Depth of image 2", f"What the words attended to: {CAPTION}"} <= set(shown)
    assert all(picture.width >= 100 for _, picture in page.pictures)


def arguments(images, labels, out, **changes):
    values = {"images": images, "labels": labels, "out": out, "attribution": out / "none", "class_tables": None}
    return argparse.Namespace(**values | {"only": None, "columns": 4, "overwrite": False} | changes)


def test_a_folder_that_was_named_must_be_there_and_hold_the_images_labels(folders):
    images, labels, out = folders
    flags = ("--images", images, "--labels", labels, "--out", out)
    done = demo_vis(*flags, "--attribution", out / "none")
    assert done.returncode == 2
    assert done.stderr == f"error: attribution folder {out}/none is missing; write it with demo.py --attribution\n"
    hashes = {"images/one": "0" * 64, "elsewhere/two": "1"}  # of another image
    (labels / "image_hashes.json").write_text(json.dumps(hashes))
    done = demo_vis(*flags)
    assert done.returncode == 2
    assert done.stderr == f"error: {images}/one.png: its labels are those of another image; label it with demo.py\n"
    done = demo_vis("--images", DEMO_IMAGES, "--labels", labels, "--out", "/proc/x")
    assert done.returncode == 2
    assert done.stderr.endswith("folder /proc cannot be written to; name another folder with --out\n")
    assert done.stderr.count("\n") == 1


def test_some_experts_alone_in_fewer_columns(folders):
    images, labels, out = folders
    assert draw(arguments(images, labels, out, only="depth,ocr_detection", columns=2)) == 0
    assert Image.open(out / "one.png").width == 2 * 306 + 18
    texts = Page(out / "report.html").texts
    assert {"Depth", "Text"} <= set(texts)
    assert {"Normal", "Segmentation", "Object detection"}.isdisjoint(texts)
    with pytest.raises(UserError, match="--only: there are no labels of 'edge'; there are: depth, norm"):
        draw(arguments(images, labels, out, only="edge"))


def test_names_that_are_not_unicode(tmp_path):
    panel = Panel("Image", Image.new("RGB", (3, 3)), [((1, 2, 3), "<i>")])
    with Report(4) as report:
        report.add("caf\udce9.png", None, panel.picture, [panel], None)
        report.write(tmp_path / "report.html", "\udce9")
    assert {"caf?.png", "<i>"} <= set(Page(tmp_path / "report.html").texts)


def test_attribution_for_another_text(folders, capsys):
    images, labels, out = folders
    attribution = attribution_for(out / "attribution")
    (images / "one.txt").write_text("Something else")
    draw(arguments(images, labels, out, only="depth", attribution=attribution))
    assert "one.png: the attribution is of another caption, and left out" in capsys.readouterr().err
    attribution_for(attribution, "What is it?")
    draw(arguments(images, labels, out, only="depth", attribution=attribution))
    page = Page(out / "report.html")
    assert page.texts.count(f"What is it? {CAPTION}") == 2


def test_a_full_sheet_is_followed_by_another(folders):
    images, labels, out = folders
    for number in range(12):
        Image.new("RGB", (9, 9)).save(images / f"{number}.png")
    assert draw(arguments(images, labels, out, only="depth", columns=1)) == 0
    heights = [Image.open(out / name).height for name in ("contact_sheet.png", "contact_sheet_2.png")]
    assert heights[1] < heights[0] / 4
    (images / "contact_sheet.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"contact_sheet\.jpg: .*rename it"):
        draw(arguments(images, labels, out))


def test_names_are_those_of_the_networks_that_made_the_labels(folders):
    _, labels, _ = folders
    names = label_names(labels, experts_in(labels)).labels
    assert "red cube" in names["detection"]  # beside labels of Scenes
    (labels / "seg_scenes").rename(labels / "seg_coco")
    names = label_names(labels, experts_in(labels)).labels
    assert (len(names["coco"]), len(names["detection"])) == (133, 722)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": "nowhere"}, "image folder nowhere is missing; name yours with --images"),
        ({"labels": "nowhere"}, "label folder nowhere has no labels; run demo.py"),
        ({"class_tables": "nowhere"}, "class table nowhere"),
        ({"out": "{images}/pictures"}, "lies among the images"),
    ],
)
def test_bad_folders(folders, changed, message, monkeypatch):
    images, labels, out = folders
    monkeypatch.chdir(ROOT)
    paths = {name: Path(value.format(images=images)) for name, value in changed.items()}
    with pytest.raises(UserError, match=message):
        draw(arguments(**{"images": images, "labels": labels, "out": out} | paths))
    assert not out.exists()


def test_a_label_of_another_size_is_named(folders):
    images, labels, out = folders
    Image.new("L", (10, 10)).save(labels / "depth" / "images" / "one.png")
    with pytest.raises(UserError, match=r"depth.*10 x 10"):
        draw(arguments(images, labels, out))
