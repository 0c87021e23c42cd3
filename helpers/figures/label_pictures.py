"""An image and the labels its experts gave, as pictures with legends."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from dataset.class_tables import ClassTables
from dataset.label_files import read_instances, read_words
from dataset.labels import LabelReader
from helpers.figures.drawing import (
    GREY,
    INK,
    WHITE,
    Box,
    Colour,
    blend,
    chips,
    distinct_colours,
    font,
    free_place,
    outline,
    outlined,
    ramp,
    tag,
    title,
)
from model.modalities import BACKGROUND, MODALITIES, Kind, Modality

CELL = 288  # long side of a panel, pixels, unless the image is very wide or tall
WIDEST, TALLEST = 1206, 720  # panels; the widest is as wide as four and the gaps between them
NAME_SIZE = 12
MIN_FIT = 0.6  # a name may hang out of its region a little; below this it is in the legend alone
EMPTY: Colour = (226, 228, 232)
_NOTHING = {Kind.INSTANCE: "no object found", Kind.WORDS: "no text found"}
# What the ends of a quantity mean (docs/labels.md).
_ENDS = {"depth": ("far", "near"), "edge": ("edge", "no edge")}
# Normals are seen from the camera: x to the right, y up, z towards it.
_DIRECTIONS = {"normal": [((255, 128, 128), "right"), ((128, 255, 128), "up"), ((128, 128, 255), "to the camera")]}


@dataclass(frozen=True)
class Scale:
    """What a quantity's colours mean, from one end to the other."""

    low: str
    colours: Sequence[Colour]
    high: str


@dataclass(frozen=True)
class Panel:
    """A titled picture. `legend`: colours and names of what is in it, largest first; or a scale."""

    title: str
    picture: Image.Image
    legend: Sequence[tuple[Colour, str]] = ()
    scale: Scale | None = None

    def key(self, width: int) -> Image.Image | None:
        """The legend or the scale, to be put below the picture; None if there is nothing to explain."""
        if self.scale is not None:
            return ramp(width, self.scale.low, self.scale.colours, self.scale.high)
        return chips(width, self.legend) if self.legend else None


def experts_in(labels: Path) -> list[Modality]:
    """The experts that have a folder under `labels`, in the registry's order."""
    return [entry for name, entry in MODALITIES.items() if (labels / name).is_dir()]


def panel_size(size: tuple[int, int]) -> tuple[int, int]:
    """How large an image of any size is shown; one more than twice as long as wide gets more room."""
    ratio = max(size) / min(size)
    longest = WIDEST if size[0] > size[1] else TALLEST
    scale = min(CELL * max(ratio / 2, 1), longest) / max(size)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def draw_panels(
    image: Image.Image, key: str, labels: Path, experts: Sequence[Modality], tables: ClassTables
) -> list[Panel]:
    """Draws an image and its labels, all of one size.

    Args:
        image: RGB, of any size.
        key: of the image's labels: they are `<labels>/<expert>/<key>.png` with their sidecars.
        labels: label folder.
        experts: whose labels are shown, in this order.
        tables: names of the classes that these experts know.

    Raises:
        UserError: a label is damaged, or not of the image's size.
    """
    view = image.resize(panel_size(image.size), Image.Resampling.LANCZOS)
    panels = [Panel(title("rgb"), view)]
    for entry in experts:
        panels.append(label_panel(entry, LabelReader(labels, [entry.name]), key, image.size, view, tables))
    return panels


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
        key: of the image's labels, as for `draw_panels`.
        image_size: width and height of the image.
        view: the image at the size of the panel.
        tables: names of the classes.
    """
    path = reader.path(entry, key)
    name = title(entry.name)
    if not path.is_file() or path.stat().st_size == 0:
        is_words = entry.kind is Kind.WORDS  # no file of words means that there are none
        return _empty(name, view.size, _NOTHING[entry.kind] if is_words else "no label")
    label = reader.read(key, image_size)[0][entry.name]
    if entry.kind is Kind.CONTINUOUS:
        picture = _quantity(entry, label).resize(view.size, Image.Resampling.BICUBIC)
        return Panel(name, picture, _DIRECTIONS.get(entry.name, ()), _scale(entry))
    index = np.asarray(label.resize(view.size, Image.Resampling.NEAREST))  # (h, w)
    if entry.kind is Kind.SEMANTIC:
        return _segments(name, index, view, tables.labels[entry.classes])
    if (index == BACKGROUND).all():
        return _empty(name, view.size, _NOTHING[entry.kind])
    return _boxes(name, index, view, _names(entry, path, tables))


def _scale(entry: Modality) -> Scale | None:
    if entry.name not in _ENDS:
        return None
    low, high = _ENDS[entry.name]
    grey = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    return Scale(low, [tuple(pixel) for pixel in np.asarray(_quantity(entry, grey))[0].tolist()], high)


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
        width, height = face.getlength(name) + 12, NAME_SIZE + 8
        if width > index.shape[1] or height > index.shape[0]:
            continue
        if place := free_place((index == number) & free, width, height, MIN_FIT):
            x = min(max(place[0], width / 2), index.shape[1] - width / 2)  # not over the border
            y = min(max(place[1], height / 2), index.shape[0] - height / 2)
            outlined(draw, (x, y), name, NAME_SIZE)
            left, top = max(round(x - width / 2), 0), max(round(y - height / 2), 0)
            free[top : round(y + height / 2), left : round(x + width / 2)] = False
    entries = [
        (colours[number], f"{_name(names, number)}  {_percent(area / index.size)}") for area, number in largest_first
    ]
    return Panel(panel, picture, entries)


def _percent(share: float) -> str:
    return "< 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def _boxes(panel: str, index: np.ndarray, view: Image.Image, names: dict[int, str]) -> Panel:
    """The image dimmed, and each instance or word tinted, boxed and, where there is room, named."""
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
    numbers, areas = np.unique(index[index != BACKGROUND], return_counts=True)
    largest_first = [number for _, number in sorted(zip(-areas, numbers.tolist(), strict=True))]
    for number in largest_first:
        tag(draw, boxes[number], names.get(number, "?"), colours[number], NAME_SIZE, taken)
    return Panel(panel, picture, [(colours[number], names.get(number, "?")) for number in largest_first])


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


def _empty(panel: str, size: tuple[int, int], text: str) -> Panel:
    """A grey field that says why; where it is too narrow for that, the legend does."""
    picture = Image.new("RGB", size, EMPTY)
    if size[1] <= 16 or font(14).getlength(text) > size[0] - 4:
        return Panel(panel, picture, [(EMPTY, text)])
    ImageDraw.Draw(picture).text((size[0] / 2, size[1] / 2), text, GREY, font(14), anchor="mm")
    return Panel(panel, picture)
