"""An image and its labels as pictures with legends."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from common.files import ROOT
from dataset.class_tables import ClassTables, class_names, read_class_tables
from dataset.label_files import read_instances, read_words
from dataset.label_manifest import read_backends
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
    ramp,
    tag,
    title,
)
from model.modalities import BACKGROUND, EMBEDDING_DIM, MODALITIES, Kind, Modality

SCENES = ROOT / "nano" / "tables"  # the classes of Scenes and of the networks trained on it
CELL = 288  # long side of a panel, pixels, unless the image is very wide or tall
WIDEST, TALLEST = 1206, 720  # panels; the widest takes the room of four with their gaps
NAME_SIZE = 12
MIN_FIT = 0.6  # share of a name that lies in its region; below this the name is in the legend alone
EMPTY: Colour = (226, 228, 232)
_NOTHING = {Kind.INSTANCE: "no object found", Kind.WORDS: "no text found"}
# The meanings of the ends of a quantity (docs/labels.md).
_ENDS = {"depth": ("far", "near"), "edge": ("edge", "no edge")}
# Normals are seen from the camera: x to the right, y up, z towards it.
_DIRECTIONS = {"normal": [((255, 128, 128), "right"), ((128, 255, 128), "up"), ((128, 128, 255), "to the camera")]}


@dataclass(frozen=True)
class Scale:
    """The colours of a quantity from one end to the other, and the meanings of the ends."""

    low: str
    colours: Sequence[Colour]
    high: str


@dataclass(frozen=True)
class Panel:
    """A titled picture with a legend (colours and names of its contents, largest first) or a scale."""

    title: str
    picture: Image.Image
    legend: Sequence[tuple[Colour, str]] = ()
    scale: Scale | None = None

    def key(self, width: int) -> Image.Image | None:
        """The legend or the scale as a picture; None if there is neither."""
        if self.scale is not None:
            return ramp(width, self.scale.low, self.scale.colours, self.scale.high)
        return chips(width, self.legend) if self.legend else None


def experts_in(labels: Path) -> list[Modality]:
    """The experts that have a folder under `labels`, in the registry's order."""
    return [entry for name, entry in MODALITIES.items() if (labels / name).is_dir()]


def label_names(labels: Path, experts: Sequence[Modality]) -> ClassTables:
    """The class names that go with the labels of some experts; the tables have no embeddings.

    Args:
        labels: the label folder. Its manifests name the networks; labels without a manifest are of Scenes if
            there are labels of Scenes' segmentation beside them, else of the released networks.
        experts: the experts.

    Raises:
        UserError: a manifest is damaged.
    """
    with_classes = [entry for entry in experts if entry.classes]
    made_by = read_backends(labels, [entry.name for entry in with_classes])
    beside_scenes = (labels / "seg_scenes").is_dir()
    names: dict[str, list[str]] = {}
    for entry in with_classes:
        if made_by[entry.name]["name"] == "nano" if entry.name in made_by else beside_scenes:
            names |= read_class_tables(SCENES, [entry.classes]).labels
        else:
            names[entry.classes] = list(class_names(entry.classes))
    return ClassTables(names, {}, np.zeros(EMBEDDING_DIM, np.float32))


def panel_size(size: tuple[int, int]) -> tuple[int, int]:
    """The size at which an image is shown; an image more than twice as long as wide gets more room."""
    ratio = max(size) / min(size)
    longest = WIDEST if size[0] > size[1] else TALLEST
    scale = min(CELL * max(ratio / 2, 1), longest) / max(size)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def draw_panels(
    image: Image.Image, key: str, labels: Path, experts: Sequence[Modality], tables: ClassTables
) -> list[Panel]:
    """Draws an RGB image and its labels, all of one size; arguments and errors as for `label_panel`."""
    view = image.resize(panel_size(image.size), Image.Resampling.LANCZOS)
    panels = [label_panel(entry, labels, key, image.size, view, tables) for entry in experts]
    return [Panel(title("rgb"), view), *panels]


def label_panel(
    entry: Modality, labels: Path, key: str, image_size: tuple[int, int], view: Image.Image, tables: ClassTables
) -> Panel:
    """Draws a label, over the image where that helps.

    Args:
        entry: the expert.
        labels: the label folder.
        key: of the label: its file is `<labels>/<expert>/<key>.png`, with its sidecars.
        image_size: width and height of the image.
        view: the image at the size of the panel.
        tables: names of the classes that the expert knows.

    Raises:
        UserError: the label is damaged, or not of the image's size.
    """
    reader = LabelReader(labels, [entry.name])
    path = reader.path(entry, key)
    name = title(entry.name)
    if not path.is_file() or path.stat().st_size == 0:
        is_words = entry.kind is Kind.WORDS  # an empty file means that there are no words
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
    """Class colours over the image's light, with borders, and names where they fit."""
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
            draw.text((x, y), name, WHITE, face, anchor="mm", stroke_width=2, stroke_fill=INK)
            left, top = max(round(x - width / 2), 0), max(round(y - height / 2), 0)
            free[top : round(y + height / 2), left : round(x + width / 2)] = False
    entries = [
        (colours[number], f"{_name(names, number)}  {_percent(area / index.size)}") for area, number in largest_first
    ]
    return Panel(panel, picture, entries)


def _percent(share: float) -> str:
    return "< 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def _boxes(panel: str, index: np.ndarray, view: Image.Image, names: dict[int, str]) -> Panel:
    """The dimmed image with each instance or word tinted, boxed and, where there is room, named."""
    picture = Image.blend(view.convert("L").convert("RGB"), Image.new("RGB", view.size, INK), 0.45)
    numbers, areas = np.unique(index[index != BACKGROUND], return_counts=True)
    largest_first = [number for _, number in sorted(zip(-areas, numbers.tolist(), strict=True))]
    colours = distinct_colours(numbers.tolist())
    boxes: dict[int, Box] = {}
    for number, tint in colours.items():
        left, top, right, bottom = Image.fromarray(index == number).getbbox()
        boxes[number] = (left, top, right - 1, bottom - 1)
        picture = blend(picture, index == number, tint, 0.6)
    draw = ImageDraw.Draw(picture)
    for number, box in boxes.items():
        draw.rectangle(box, outline=colours[number], width=2)
    taken: list[Box] = []
    for number in largest_first:
        tag(draw, boxes[number], names.get(number, "?"), colours[number], NAME_SIZE, taken)
    return Panel(panel, picture, [(colours[number], names.get(number, "?")) for number in largest_first])


def _names(entry: Modality, path: Path, tables: ClassTables) -> dict[int, str]:
    """The name of each id of an instance or word label."""
    sidecars = [path.with_suffix(suffix) for suffix in entry.sidecars]
    sidecar = next(beside for beside in sidecars if beside.is_file())  # the reader has checked it
    if entry.kind is Kind.WORDS:
        return {number: word.text for number, word in read_words(sidecar).items()}
    names = tables.labels[entry.classes]
    return {number: _name(names, index) for number, index in read_instances(sidecar).items()}


def _name(names: Sequence[str], index: int) -> str:
    return names[index] if 0 <= index < len(names) else "?"


def _empty(panel: str, size: tuple[int, int], text: str) -> Panel:
    """A grey field with a text, which stands in the legend if the field is too narrow."""
    picture = Image.new("RGB", size, EMPTY)
    if size[1] <= 16 or font(14).getlength(text) > size[0] - 4:
        return Panel(panel, picture, [(EMPTY, text)])
    ImageDraw.Draw(picture).text((size[0] / 2, size[1] / 2), text, GREY, font(14), anchor="mm")
    return Panel(panel, picture)
