"""Drawing tools: colours, fonts, legible text on any ground, free places, legends."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.font_manager import findSystemFonts
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import uniform_filter

from model.modalities import MODALITIES, Kind

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]  # left, top, right, bottom

INK: Colour = (32, 33, 36)
GREY: Colour = (110, 114, 120)
WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)
IMAGE_COLOUR: Colour = (189, 193, 198)
# Okabe and Ito's palette, distinct with every kind of colour vision (jfly.uni-koeln.de/color).
PALETTE: tuple[Colour, ...] = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
)
_TITLES = {Kind.SEMANTIC: "Segmentation", Kind.INSTANCE: "Object detection", Kind.WORDS: "Text"}
CHIP_SIZE = 12
_SHADES = (1.0, 0.62, 1.5)  # of the palette, used one after another


def distinct_colours(numbers: Iterable[int]) -> dict[int, Colour]:
    """A colour for each class or instance: always the same, unless another number has it already.

    The palette and its shades are 21 colours; more numbers repeat them.
    """
    count = len(PALETTE) * len(_SHADES)
    taken: set[int] = set()
    chosen: dict[int, Colour] = {}
    for number in numbers:
        free = (place % count for place in range(number, number + count) if place % count not in taken)
        place = next(free, number % count)
        taken.add(place)
        base, shade = np.array(PALETTE[place % len(PALETTE)], float), _SHADES[place // len(PALETTE)]
        shaded = base * shade if shade <= 1 else 255 - (255 - base) / shade
        chosen[number] = tuple(int(value) for value in shaded)
    return chosen


def title(name: str) -> str:
    """The name of a modality, or of the image (`rgb`), in pictures."""
    if name not in MODALITIES:
        return "Image"
    return _TITLES.get(MODALITIES[name].kind, name.replace("_", " ").capitalize())


def modality_colour(name: str) -> Colour:
    """The colour of a modality, or of the image (`rgb`), where several are compared."""
    stems = list(dict.fromkeys(entry.stem for entry in MODALITIES.values()))  # a model has one expert of each
    return PALETTE[stems.index(MODALITIES[name].stem)] if name in MODALITIES else IMAGE_COLOUR


def contrasting(fill: Colour) -> Colour:
    """Black or white, whichever has the higher contrast with a colour: at least 4.5 : 1 (WCAG 2)."""
    linear = ((np.array(fill) / 255 + 0.055) / 1.055) ** 2.4
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return WHITE if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else BLACK


def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and covers most scripts."""
    return _face(_dejavu(bold), size)


def readable(text: str, size: int, bold: bool = False) -> tuple[str, ImageFont.FreeTypeFont]:
    """A text on one line, and a font that has its letters.

    The font is DejaVu Sans, or one of this machine's, for example for Chinese. Letters that no font has become
    escapes such as `\\u732b`, which can be told apart where boxes could not.
    """
    needed = {ord(letter) for letter in text if letter.isprintable()}
    path = _dejavu(bold)
    if not needed <= _letters(path):
        path = next((other for other in _other_fonts() if needed <= _letters(other)), path)
    known = _letters(path)
    shown = "".join(letter if ord(letter) in known else letter.encode("unicode_escape").decode() for letter in text)
    return shown, _face(path, size)


@lru_cache
def _face(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


def _dejavu(bold: bool) -> str:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name)


@lru_cache
def _other_fonts() -> list[str]:
    """This machine's fonts, sans serif first, without those that draw every letter as a box or a blank."""
    fonts = [path for path in findSystemFonts() if not re.search("last ?resort|blank", Path(path).name.lower())]
    return sorted(fonts, key=lambda path: ("sans" not in Path(path).name.lower(), path))


@cache
def _letters(path: str) -> frozenset[int]:
    """The code points that a font can write on one line; none, if Pillow cannot draw with it."""
    with suppress(OSError, RuntimeError):
        ImageFont.truetype(path, 12)  # refuses coloured bitmaps
        return frozenset(code for code in FT2Font(path).get_charmap() if chr(code).isprintable())
    return frozenset()


def wrap(text: str, face: ImageFont.FreeTypeFont, width: float, lines: int) -> list[str]:
    """Breaks a text into at most `lines` lines of `width` pixels; a cut text ends in an ellipsis."""
    wrapped = [""]
    for word in text.split():
        longer = f"{wrapped[-1]} {word}".strip()
        if face.getlength(longer) <= width or not wrapped[-1]:
            wrapped[-1] = longer
        else:
            wrapped.append(word)
    if len(wrapped) > lines:
        wrapped = [*wrapped[: lines - 1], " ".join(wrapped[lines - 1 :])]
    return [shorten(line, face, width) for line in wrapped]


def shorten(text: str, face: ImageFont.FreeTypeFont, width: float) -> str:
    """Cuts a text to `width` pixels; a cut text ends in an ellipsis."""
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(text + "…") > width:
        text = text[:-1].rstrip()
    return text + "…"


def tag(draw: ImageDraw.ImageDraw, box: Box, text: str, fill: Colour, size: int, taken: list[Box]) -> None:
    """Writes a name on a plate at a corner of its box; without a place that is free of other plates, nothing.

    Args:
        draw: of the picture; the plate stays inside it.
        box: the named box.
        text: the name.
        fill: colour of the plate.
        size: of the font.
        taken: the plates so far; the new one is added.
    """
    columns, rows = draw.im.size
    face = font(size, bold=True)
    text = shorten(text, face, columns - 8)
    width, height = face.getlength(text) + 6, size + 5
    if len(text) < 2 or width > columns - 2 or height > rows - 2:
        return
    left, top, right, bottom = box
    corners = [
        (min(max(x, 1), columns - width - 1), min(max(y, 1), rows - height - 1))
        # above, at the second line above, inside, below
        for y in (top - height, top - 2 * height - 1, top, bottom - height, bottom)
        for x in (left, right - width, (left + right - width) / 2)
    ]
    plates = [(x, y, x + width, y + height) for x, y in corners]
    plate = next((plate for plate in plates if not any(_overlap(plate, other) for other in taken)), None)
    if plate is None:
        return
    taken.append(plate)
    draw.rounded_rectangle(plate, radius=3, fill=fill)
    middle = ((plate[0] + plate[2]) / 2, (plate[1] + plate[3]) / 2)
    draw.text(middle, text, contrasting(fill), face, anchor="mm")


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def free_place(mask: np.ndarray, width: float, height: float, least: float) -> tuple[int, int] | None:
    """Finds the place for a name in a region: as near to its centre as there is room.

    Args:
        mask: the region, bool (rows, columns).
        width: of the name, pixels.
        height: of the name, pixels.
        least: share of the name, 0 to 1, that must lie in the region.

    Returns:
        (x, y) of the name's middle; None if it does not fit.
    """
    inside = uniform_filter(mask.astype(np.float32), (round(height), round(width)), mode="constant") * mask
    if inside.max() < least:
        return None
    y, x = np.nonzero(inside >= inside.max() - 1e-3)
    rows, columns = np.nonzero(mask)
    nearest = np.argmin((y - rows.mean()) ** 2 + (x - columns.mean()) ** 2)
    return int(x[nearest]), int(y[nearest])


def outline(index: np.ndarray) -> np.ndarray:
    """Marks pixels (h, w) whose right or lower neighbour has another value."""
    edge = np.zeros(index.shape, bool)
    edge[:, :-1] |= index[:, :-1] != index[:, 1:]
    edge[:-1] |= index[:-1] != index[1:]
    return edge


def blend(image: Image.Image, mask: np.ndarray, tint: Colour, share: float) -> Image.Image:
    """Mixes a share of a colour, 0 to 1, into an image where a mask (h, w) is set."""
    tinted = Image.blend(image, Image.new("RGB", image.size, tint), share)
    return Image.composite(tinted, image, Image.fromarray(mask))


def chips(width: int, entries: Sequence[tuple[Colour, str]], lines: int = 3) -> Image.Image:
    """A legend: colour swatches with names, in lines of text; those that do not fit are counted."""
    face, step = font(CHIP_SIZE), CHIP_SIZE + 8
    picture = Image.new("RGB", (width, lines * step), WHITE)
    draw = ImageDraw.Draw(picture)
    x, line = 0.0, 0
    for place, (swatch, name) in enumerate(entries):
        name = shorten(name, face, width - 22)
        needed = 20 + face.getlength(name)
        if x and x + needed > width:
            x, line = 0.0, line + 1
        rest = f"and {len(entries) - place} more"
        last = place == len(entries) - 1
        if line == lines or (line == lines - 1 and not last and x + needed + 12 + face.getlength(rest) > width):
            line = min(line, lines - 1)
            draw.text((x, (line + 0.5) * step), rest, GREY, face, anchor="lm")
            break
        y = line * step
        draw.rounded_rectangle((x, y + 4, x + 14, y + step - 5), radius=3, fill=swatch)
        draw.text((x + 20, y + step / 2), name, INK, face, anchor="lm")
        x += needed + 12
    return picture.crop((0, 0, width, (line + 1) * step))


def ramp(width: int, low: str, colours: Sequence[Colour], high: str) -> Image.Image:
    """A scale: a strip of colours between the meanings of its ends."""
    face, step = font(CHIP_SIZE), CHIP_SIZE + 8
    picture = Image.new("RGB", (width, step), WHITE)
    draw = ImageDraw.Draw(picture)
    left, right = round(face.getlength(low)) + 8, width - round(face.getlength(high)) - 8
    draw.text((0, step / 2), low, INK, face, anchor="lm")
    draw.text((width, step / 2), high, INK, face, anchor="rm")
    if right > left:
        row = np.array(colours, np.uint8)[np.linspace(0, len(colours) - 1, right - left).astype(int)]
        picture.paste(Image.fromarray(np.repeat(row[None], step - 9, axis=0)), (left, 5))
        draw.rectangle((left - 1, 4, right, step - 4), outline=GREY)
    return picture
