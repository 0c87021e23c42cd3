"""The pictures of labels and attribution, kind by kind, and the page around them."""

import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image, ImageChops, ImageDraw

from dataset.class_tables import ClassTables
from helpers.figures import drawing, image_page
from helpers.figures.attribution_picture import draw_attribution
from helpers.figures.drawing import (
    PALETTE,
    chips,
    contrasting,
    distinct_colours,
    font,
    free_place,
    readable,
    shorten,
    tag,
    wrap,
)
from helpers.figures.image_page import draw_figure, draw_sheet, save_picture, thumbnail
from helpers.figures.inline_html import panel_key
from helpers.figures.label_pictures import Panel, Scale, draw_panels, experts_in
from model.attribution import Attribution
from model.modalities import MODALITIES

SIZE = (96, 72)
TABLES = ClassTables({"scenes": ["sky", "ground", "cube"], "detection": ["red cube", "blue ball"]}, {}, np.zeros(64))


@pytest.fixture
def labels(tmp_path):
    """Labels of every kind for the image `a/x`."""

    def put(name: str, pixels: np.ndarray) -> None:
        (tmp_path / name / "a").mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / name / "a" / "x.png")

    columns, rows = SIZE
    ramp = np.tile(np.linspace(0, 255, columns).astype(np.uint8), (rows, 1))
    put("depth", ramp)
    put("normal", np.stack([ramp, ramp // 2, 255 - ramp], -1))
    put("edge", 255 - ramp)
    halves = np.where(np.arange(rows)[:, None] < rows // 2, 0, 1).astype(np.uint8) * np.ones_like(ramp)
    put("seg_scenes", halves)
    index = np.full_like(ramp, 255)
    index[10:40, 10:50] = 0
    index[45:70, 60:90] = 1
    put("obj_detection", index)
    (tmp_path / "obj_detection" / "a" / "x.json").write_text(json.dumps({"0": 0, "1": 1}))
    put("ocr_detection", index)
    words = {str(n): {"text": text, "features": [0.0] * 64} for n, text in enumerate(["stop", "exit"])}
    (tmp_path / "ocr_detection" / "a" / "x.json").write_text(json.dumps(words))
    return tmp_path


@pytest.fixture
def written(monkeypatch):
    """Every text that is drawn."""
    texts: list[str] = []
    draw_text = ImageDraw.ImageDraw.text

    def note(self, xy, text, *args, **kwargs):
        texts.append(text)
        return draw_text(self, xy, text, *args, **kwargs)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", note)
    return texts


def draw(labels, caption="A red cube", key="a/x", size=SIZE, columns=4):
    image = Image.new("RGB", size, (120, 130, 140))
    return draw_figure(draw_panels(image, key, labels, experts_in(labels), TABLES), key, caption, columns)


def test_shows_every_label_by_name(labels, written):
    picture = draw(labels)
    titles = ["Image", "Depth", "Normal", "Segmentation", "Edge", "Object detection", "Text"]
    assert [text for text in written if text in titles] == titles
    assert {"sky", "ground", "A red cube"} <= set(written)
    for name in ("red cube", "blue ball", "stop", "exit"):
        assert written.count(name) == 2  # at its place, and in the legend
    assert {"sky  50 %", "ground  50 %", "far", "near", "right", "up", "to the camera"} <= set(written)
    assert "no label" not in written
    assert len(picture.getcolors(1 << 24)) > 500  # depth in colour, normals


def test_depth_is_in_colour_and_edges_are_grey(labels):
    _, depth, edge = draw_panels(
        Image.new("RGB", SIZE), "a/x", labels, [MODALITIES[name] for name in ("depth", "edge")], TABLES
    )
    colours = [np.ptp(np.asarray(panel.picture, int), axis=-1).max() for panel in (depth, edge)]
    assert colours[0] > 100
    assert colours[1] == 0


def test_missing_and_empty_labels_are_named(labels, written):
    (labels / "depth" / "a" / "x.png").unlink()
    (labels / "normal" / "a" / "x.png").write_bytes(b"")
    (labels / "seg_scenes" / "a" / "x.png").unlink()
    (labels / "ocr_detection" / "a" / "x.png").unlink()
    nothing = Image.new("L", SIZE, 255)
    nothing.save(labels / "obj_detection" / "a" / "x.png")
    draw(labels, caption=None)
    assert written.count("no label") == 3
    assert written.count("no text found") == 1
    assert written.count("no object found") == 1
    assert "no caption yet" in written


def test_a_narrow_panel_has_its_text_in_the_legend(labels):
    (labels / "ocr_detection" / "a" / "x.png").unlink()
    image = Image.new("RGB", (8000, 20))
    panels = draw_panels(image, "a/x", labels, [MODALITIES["ocr_detection"]], TABLES)
    assert [name for _, name in panels[1].legend] == ["no text found"]
    panels = draw_panels(Image.new("RGB", SIZE), "a/x", labels, [MODALITIES["ocr_detection"]], TABLES)
    assert panels[1].legend == ()


def test_the_html_scale_has_the_colours_of_both_ends():
    scale = Scale("far", [(place, 0, 0) for place in range(256)], "near")
    stops = panel_key(Panel("Depth", Image.new("RGB", SIZE), scale=scale))
    assert "to right, #000000, " in stops
    assert ", #ff0000)" in stops


@pytest.mark.parametrize("experts", [1, 2, 6])
def test_the_attribution_for_few_experts_has_its_heading(experts, monkeypatch):
    ends = []
    drawn = ImageDraw.ImageDraw.text

    def note(self, xy, text, fill, face, anchor):
        ends.append(xy[0] + face.getlength(text) * {"l": 1, "m": 0.5, "r": 0}[anchor[0]])
        drawn(self, xy, text, fill, face, anchor=anchor)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", note)
    names = list(MODALITIES)[:experts]
    mass = torch.full((2, 1, 1), 1 / (experts + 1))
    effects = {name: torch.zeros(2) for name in names}
    draw_attribution(
        Attribution(("a", "cone"), torch.zeros(2), dict.fromkeys(["rgb", *names], mass), mass[..., 0], effects)
    )
    assert 1000 < max(ends) <= 1240


def test_a_class_without_a_name_is_a_question_mark(labels, written):
    (labels / "obj_detection" / "a" / "x.json").write_text(json.dumps({"0": 99}))
    Image.new("L", SIZE, 77).save(labels / "seg_scenes" / "a" / "x.png")
    draw(labels)
    assert "?" in written


@pytest.mark.parametrize("size", [(96, 72), (72, 96), (400, 20), (9, 200), (1, 1), (4000, 1), (1, 4000)])
def test_any_shape_of_image(tmp_path, written, size):
    for name in ("depth", "obj_detection"):
        (tmp_path / name).mkdir()
        Image.new("L", size, 3).save(tmp_path / name / "x.png")
    (tmp_path / "obj_detection" / "x.json").write_text(json.dumps({"3": 0}))
    picture = draw(tmp_path, key="x", size=size, caption="word " * 200)
    assert 600 <= picture.width <= 1242
    assert image_page.TITLE_HEIGHT + 100 < picture.height < 1500
    assert "red cube" in written  # in the legend, where there is no room in the picture


@pytest.mark.parametrize(("columns", "width"), [(1, 612), (2, 630), (3, 936), (4, 1242), (9, 2160)])
def test_columns(labels, columns, width):
    assert draw(labels, columns=columns).width == width


def test_a_sheet_has_every_image(written):
    entries = [(f"{n}.png", n * "word " or None, thumbnail(Image.new("RGB", (999 * n + 1, 1)))) for n in range(5)]
    assert draw_sheet(entries, 3).width == 3 * 306 + 18
    assert [text for text in written if text.endswith(".png")] == [name for name, _, _ in entries]
    assert "no caption yet" in written


def test_large_pictures_are_written_with_fewer_colours(tmp_path, monkeypatch):
    monkeypatch.setattr(image_page, "MAX_BYTES", 10_000)
    noise = np.random.default_rng(0).integers(0, 256, (70, 70, 3), dtype=np.uint8)
    save_picture(Image.fromarray(noise), tmp_path / "noise.png")
    save_picture(Image.new("RGB", (70, 70), (1, 2, 3)), tmp_path / "plain.png")
    assert Image.open(tmp_path / "noise.png").mode == "P"
    assert (tmp_path / "noise.png").stat().st_size < image_page.MAX_BYTES
    assert Image.open(tmp_path / "plain.png").mode == "RGB"


def test_names_go_where_they_fit():
    mask = np.zeros((60, 100), bool)
    mask[5:10, 5:10] = True  # too small
    mask[30:50, 20:80] = True
    assert free_place(mask, 40, 12, least=0.6) == pytest.approx((49, 39), abs=2)
    assert free_place(mask, 40, 60, least=0.6) is None
    assert free_place(np.zeros((5, 5), bool), 4, 4, least=0.5) is None
    y, x = np.mgrid[:101, :101]
    ring = np.abs(np.hypot(x - 50, y - 50) - 37) < 12
    column, row = free_place(ring, 12, 12, least=0.9)
    assert ring[row, column]  # not at its centre, which is in the hole


def test_plates_stay_inside_and_apart():
    picture = Image.new("RGB", (200, 100))
    canvas = ImageDraw.Draw(picture)
    taken = []
    for box in [(2, 2, 60, 60), (4, 3, 70, 50), (150, 50, 199, 99), (140, 60, 198, 98)]:
        tag(canvas, box, "red cube", PALETTE[0], 12, taken)
    left, top, right, bottom = zip(*taken, strict=True)
    assert min(left) >= 0
    assert min(top) >= 0
    assert max(right) <= 200
    assert max(bottom) <= 100
    covered = np.zeros((100, 200), int)
    for plate in taken:
        x, y, right, bottom = map(round, plate)
        covered[y:bottom, x:right] += 1
    assert len(taken) > 1
    assert covered.max() == 1


def test_colours_are_stable_and_distinct():
    assert len({*distinct_colours(range(21)).values()}) == 21
    assert distinct_colours([4])[4] == distinct_colours([0, 4, 9])[4]
    both = distinct_colours([6, 27])  # the same place of the palette
    assert both[6] != both[27]
    assert len(distinct_colours(range(200))) == 200


def test_long_texts_are_cut():
    face = font(12)
    assert face.getlength(shorten("a very long name of a class", face, 60)) <= 60
    lines = wrap("word " * 50, face, 100, lines=3)
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert wrap("short", face, 100, lines=3) == ["short"]


def test_letters_that_no_font_has_are_escapes(monkeypatch):
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    monkeypatch.setattr(drawing, "_other_fonts", lambda: [])
    assert readable("Größe кот", 12) == ("Größe кот", font(12))
    assert readable("a\n\u732b\udce9.png", 12) == (r"a\n\u732b\udce9.png", font(12))
    others = [str(fonts / name) for name in ("cmr10.ttf", "STIXGeneral.ttf")]
    monkeypatch.setattr(drawing, "_other_fonts", lambda: others)
    text, face = readable("a\u20dd", 12)  # only the second one has it
    assert (text, face.path) == ("a\u20dd", others[1])
    assert readable("a\u20dd\u732b", 12) == (r"a\u20dd\u732b", font(12))


def test_fonts_of_boxes_are_not_used(monkeypatch):
    found = ["/x/LastResort.otf", "/x/Song.ttf", "/y/NotoSansCJK.ttc", "/x/AdobeBlank.otf"]
    monkeypatch.setattr(drawing, "findSystemFonts", lambda: found)
    assert drawing._other_fonts.__wrapped__() == ["/y/NotoSansCJK.ttc", "/x/Song.ttf"]


def test_legend_counts_what_does_not_fit(written):
    entries = [(PALETTE[0], f"class {n}") for n in range(10)]
    picture = chips(160, entries, lines=3)
    assert written == [*(f"class {n}" for n in range(5)), "and 5 more"]
    assert ImageChops.difference(picture, Image.new("RGB", picture.size, "white")).getbbox()
    assert chips(160, entries[:1], lines=3).height < picture.height / 2


def test_text_stands_out_from_its_plate():
    def luminance(colour):
        parts = [part / 255 for part in colour]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    for fill in distinct_colours(range(21)).values():
        low, high = sorted((luminance(fill), luminance(contrasting(fill))))
        assert (high + 0.05) / (low + 0.05) >= 4.5  # WCAG 2, level AA
