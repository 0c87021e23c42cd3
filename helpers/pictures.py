"""One picture of an image, the labels its experts gave, and its caption."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from dataset.class_tables import ClassTables
from dataset.files import write_atomically
from dataset.labels import LabelReader, read_instances
from dataset.words import read_words
from helpers.drawing import (
    GREY,
    INK,
    WHITE,
    Box,
    Colour,
    blend,
    distinct_colours,
    font,
    free_place,
    legend,
    outline,
    outlined,
    shorten,
    tag,
    title,
    wrap,
)
from model.modalities import BACKGROUND, MODALITIES, Kind, Modality

COLUMNS = 4
CELL = 288  # long side of a panel, pixels
GAP = 18
TITLE_HEIGHT = 28
NAME_SIZE = 12
LINE: Colour = (208, 211, 216)
MAX_BYTES = 400_000
MIN_FIT = 0.6  # a name may hang out of its region a little; below this it is in the legend alone
_NOTHING = {Kind.INSTANCE: "no object found", Kind.WORDS: "no text found"}


@dataclass(frozen=True)
class Panel:
    """A titled picture. `legend`: colours and names of what is in it, largest first."""

    title: str
    picture: Image.Image
    legend: Sequence[tuple[Colour, str]] = ()
    framed: bool = True


def experts_in(labels: Path) -> list[Modality]:
    """The experts that have a folder under `labels`, in the registry's order."""
    return [entry for name, entry in MODALITIES.items() if (labels / name).is_dir()]


def draw_picture(
    image: Image.Image,
    key: str,
    labels: Path,
    experts: Sequence[Modality],
    tables: ClassTables,
    caption: str | None,
) -> Image.Image:
    """Draws an image, its labels and its caption.

    Args:
        image: RGB, of any size.
        key: of the image's labels: they are `<labels>/<expert>/<key>.png` with their sidecars.
        labels: label folder.
        experts: whose labels are shown, in this order.
        tables: names of the classes that these experts know.
        caption: None if there is none yet.

    Raises:
        UserError: a label is damaged, or not of the image's size.
    """
    scale = CELL / max(image.size)
    size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
    view = image.resize(size, Image.Resampling.LANCZOS)
    panels = [Panel("Image", view)]
    for entry in experts:
        panels.append(label_panel(entry, LabelReader(labels, [entry.name]), key, image.size, view, tables))
    entries = [line for panel in panels for line in panel.legend]
    if entries and len(panels) % COLUMNS:
        panels.append(Panel("Segments", legend(size, entries), framed=False))
    return _page(panels, size, key, caption)


def save_picture(picture: Image.Image, path: Path) -> None:
    """Writes a PNG; one of a photograph, which would be large, with 256 colours."""
    write_atomically(path, lambda temporary: _save(picture, temporary))


def _save(picture: Image.Image, path: Path) -> None:
    picture.save(path, format="PNG", optimize=True)
    if path.stat().st_size > MAX_BYTES:
        picture.quantize(256).save(path, format="PNG", optimize=True)


def label_panel(
    entry: Modality,
    reader: LabelReader,
    key: str,
    image_size: tuple[int, int],
    view: Image.Image,
    tables: ClassTables,
) -> Panel:
    """Draws one label, over the image where that helps.

    Args:
        entry: the expert.
        reader: of its labels.
        key: of the image's labels, as for `draw_picture`.
        image_size: width and height of the image.
        view: the image at the size of the panel.
        tables: names of the classes.
    """
    path = reader.path(entry, key)
    name = title(entry.name)
    if not path.is_file() or path.stat().st_size == 0:
        is_words = entry.kind is Kind.WORDS  # no file of words means that there are none
        return Panel(name, _message(view.size, _NOTHING[entry.kind] if is_words else "no label"))
    label = reader.read(key, image_size)[0][entry.name]
    if entry.kind is Kind.CONTINUOUS:
        return Panel(name, _quantity(entry, label).resize(view.size, Image.Resampling.BICUBIC))
    index = np.asarray(label.resize(view.size, Image.Resampling.NEAREST))  # (h, w)
    if entry.kind is Kind.SEMANTIC:
        return _segments(name, index, view, tables.labels[entry.classes])
    if (index == BACKGROUND).all():
        return Panel(name, _message(view.size, _NOTHING[entry.kind]))
    return Panel(name, _boxes(index, view, _names(entry, path, tables)))


def _quantity(entry: Modality, label: Image.Image) -> Image.Image:
    if entry.colour_map is None:
        return label.convert("RGB")
    colours = matplotlib.colormaps[entry.colour_map](np.asarray(label), bytes=True)  # (h, w, 4)
    return Image.fromarray(colours[..., :3].copy())


def _segments(panel: str, index: np.ndarray, view: Image.Image, names: Sequence[str]) -> Panel:
    """Flat class colours with a little of the image's light, borders, and names where they fit."""
    light = np.asarray(view.convert("L"), np.float32)[..., None] / 255  # (h, w, 1)
    classes, areas = np.unique(index[index != BACKGROUND], return_counts=True)
    colours = distinct_colours(classes.tolist())
    largest_first = sorted(zip(areas.tolist(), classes.tolist(), strict=True), reverse=True)
    flat = np.full((*index.shape, 3), 90.0, np.float32)  # where there is no class
    for number, fill in colours.items():
        flat[index == number] = fill
    picture = Image.fromarray((flat * (0.7 + 0.3 * light)).astype(np.uint8))
    picture = blend(picture, outline(index), WHITE, 0.75)

    draw = ImageDraw.Draw(picture)
    face = font(NAME_SIZE, bold=True)
    free = np.ones(index.shape, bool)
    for _, number in reversed(largest_first):  # small regions have the least choice
        name = _name(names, number)
        width, height = face.getlength(name) + 8, NAME_SIZE + 4
        if place := free_place((index == number) & free, width, height, MIN_FIT):
            x, y = place
            outlined(draw, place, name, NAME_SIZE)
            left, top = max(round(x - width / 2), 0), max(round(y - height / 2), 0)
            free[top : round(y + height / 2), left : round(x + width / 2)] = False
    entries = [
        (colours[number], f"{_name(names, number)}  {100 * area / index.size:.0f} %")
        for area, number in largest_first
    ]
    return Panel(panel, picture, entries)


def _boxes(index: np.ndarray, view: Image.Image, names: dict[int, str]) -> Image.Image:
    """The image dimmed, and each instance or word tinted, boxed and named."""
    picture = Image.blend(view.convert("L").convert("RGB"), Image.new("RGB", view.size, INK), 0.45)
    colours = distinct_colours(np.unique(index[index != BACKGROUND]).tolist())
    boxes: dict[int, Box] = {}
    for number, tint in colours.items():
        mask = index == number
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes[number] = (int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1]))
        picture = blend(picture, mask, tint, 0.6)
    draw = ImageDraw.Draw(picture)
    for number, box in boxes.items():
        draw.rectangle(box, outline=colours[number], width=2)
    taken: list[Box] = []
    for number, box in boxes.items():
        tag(draw, box, names.get(number, "?"), colours[number], NAME_SIZE, taken)
    return picture


def _names(entry: Modality, path: Path, tables: ClassTables) -> dict[int, str]:
    """What each id of an instance or word label stands for."""
    sidecars = [path.with_suffix(suffix) for suffix in entry.sidecars]
    sidecar = next(beside for beside in sidecars if beside.is_file())  # the reader has checked it
    if entry.kind is Kind.WORDS:
        return {number: word.text for number, word in read_words(sidecar).items()}
    names = tables.labels[entry.classes]
    return {number: _name(names, index) for number, index in read_instances(sidecar).items()}


def _name(names: Sequence[str], index: int) -> str:
    return names[index] if 0 <= index < len(names) else "?"


def _message(size: tuple[int, int], text: str) -> Image.Image:
    picture = Image.new("RGB", size, (236, 237, 240))
    draw = ImageDraw.Draw(picture)
    draw.text((size[0] / 2, size[1] / 2), shorten(text, font(14), size[0]), GREY, font(14), anchor="mm")
    return picture


def _page(panels: Sequence[Panel], size: tuple[int, int], key: str, caption: str | None) -> Image.Image:
    """Lays the panels out in a grid, with the caption below."""
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    cell = max(size[0], 150)  # wide enough for a title
    width = max(columns * (cell + GAP) + GAP, 2 * (CELL + GAP))
    step = TITLE_HEIGHT + size[1] + GAP // 2
    face = font(22, bold=True)
    lines = wrap(caption or "no caption yet", face, width - 4 * GAP, lines=4)
    strip = len(lines) * 31 + 44
    top = rows * step + GAP // 2
    page = Image.new("RGB", (width, top + strip + GAP), WHITE)
    draw = ImageDraw.Draw(page)
    for place, panel in enumerate(panels):
        row, column = divmod(place, columns)
        x, y = GAP + column * (cell + GAP), GAP // 4 + row * step
        draw.text((x, y + TITLE_HEIGHT / 2 + 1), panel.title, INK, font(14, bold=True), anchor="lm")
        page.paste(panel.picture, (x, y + TITLE_HEIGHT))
        if panel.framed:
            right, bottom = x + size[0], y + TITLE_HEIGHT + size[1]
            draw.rectangle((x - 1, y + TITLE_HEIGHT - 1, right, bottom), outline=LINE)
    draw.rounded_rectangle((GAP, top, width - GAP, top + strip), radius=8, fill=(240, 242, 245))
    for row, line in enumerate(lines):
        draw.text((2 * GAP, top + 26 + 31 * row), line, INK if caption else GREY, face, anchor="lm")
    where = shorten(key, font(13), width - 4 * GAP)
    draw.text((2 * GAP, top + strip - 18), where, GREY, font(13), anchor="lm")
    return page
