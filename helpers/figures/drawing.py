"""What the pictures are drawn with: colours, fonts, text that stays legible on anything, free places."""

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

from model.modalities import MODALITIES, Kind

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]  # left, top, right, bottom

INK: Colour = (32, 33, 36)
GREY: Colour = (110, 114, 120)
WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)
IMAGE_COLOUR: Colour = (189, 193, 198)
# Okabe and Ito's palette, told apart with every kind of colour vision (jfly.uni-koeln.de/color).
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
_SHADES = (1.0, 0.62, 1.5)  # of the palette, one after another, where more colours are wanted


def colour(index: int) -> Colour:
    """The colour at a place in the palette and its shades; the first 21 differ."""
    base = np.array(PALETTE[index % len(PALETTE)], float)
    shade = _SHADES[index // len(PALETTE) % len(_SHADES)]
    shaded = base * shade if shade <= 1 else 255 - (255 - base) / shade
    return tuple(int(value) for value in shaded)


def distinct_colours(numbers: Iterable[int]) -> dict[int, Colour]:
    """A colour for each class or instance: always the same, unless another of them has it already."""
    count = len(PALETTE) * len(_SHADES)
    taken: set[int] = set()  # places in the palette
    chosen: dict[int, Colour] = {}
    for number in numbers:
        free = (place % count for place in range(number, number + count) if place % count not in taken)
        place = next(free, number)
        taken.add(place)
        chosen[number] = colour(place)
    return chosen


def title(name: str) -> str:
    """What a picture calls a modality, the image (`rgb`) included."""
    if name not in MODALITIES:
        return "Image"
    return _TITLES.get(MODALITIES[name].kind, name.replace("_", " ").capitalize())


def modality_colour(name: str) -> Colour:
    """A modality's colour wherever several are compared, the image's (`rgb`) included."""
    stems = list(dict.fromkeys(entry.stem for entry in MODALITIES.values()))  # a model has one expert of each
    return PALETTE[stems.index(MODALITIES[name].stem)] if name in MODALITIES else IMAGE_COLOUR


def contrasting(fill: Colour) -> Colour:
    """Black or white, whichever is the more legible on a colour: by WCAG 2 it is at least 4.5 : 1."""
    linear = ((np.array(fill) / 255 + 0.055) / 1.055) ** 2.4
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return WHITE if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else BLACK


def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has most of the world's scripts."""
    return _face(_dejavu(bold), size)


def readable(text: str, size: int, bold: bool = False) -> tuple[str, ImageFont.FreeTypeFont]:
    """A text on one line, and a font that has its letters.

    It is DejaVu Sans, or else one of this machine's, as for Chinese, Japanese and Korean; letters that none
    has are written as escapes, such as `\\u732b`, since boxes would be alike.
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
    """This machine's fonts, without serifs first; not those that draw every letter as a box or a blank."""
    paths = {path: Path(path).name.lower() for path in findSystemFonts()}
    fonts = [path for path, name in paths.items() if not re.search("last ?resort|blank", name)]
    return sorted(fonts, key=lambda path: ("sans" not in paths[path], path))


@cache
def _letters(path: str) -> frozenset[int]:
    """What a font can write that stands on one line; nothing, if it cannot be drawn with."""
    with suppress(OSError, RuntimeError):
        ImageFont.truetype(path, 12)  # refuses those of coloured bitmaps
        return frozenset(code for code in FT2Font(path).get_charmap() if chr(code).isprintable())
    return frozenset()


def wrap(text: str, face: ImageFont.FreeTypeFont, width: float, lines: int) -> list[str]:
    """Breaks a text into lines of at most `width` pixels; what is over `lines` ends in an ellipsis."""
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
    """Cuts a text to `width` pixels, with an ellipsis where something is missing."""
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(text + "…") > width:
        text = text[:-1].rstrip()
    return text + "…"


def outlined(draw: ImageDraw.ImageDraw, centre: tuple[float, float], text: str, size: int) -> None:
    """White text with a dark outline, centred on a point."""
    face = font(size, bold=True)
    draw.text(centre, text, WHITE, face, anchor="mm", stroke_width=2, stroke_fill=INK)


def tag(draw: ImageDraw.ImageDraw, box: Box, text: str, fill: Colour, size: int, taken: list[Box]) -> None:
    """A name on a plate of its box's colour, at a corner of the box where it hides no other plate, if any.

    Args:
        draw: of the picture, whose borders the plate does not cross.
        box: what is named.
        text: the name.
        fill: colour of the plate; the text is dark or white, whichever stands out.
        size: of the font.
        taken: plates drawn so far; the new one is added.
    """
    columns, rows = draw.im.size
    face = font(size, bold=True)
    text = shorten(text, face, columns - 8)
    width, height = face.getlength(text) + 6, size + 5
    if len(text) < 2 or width > columns - 2 or height > rows - 2:
        return
    left, top, right, bottom = box
    corners = [
        (x, y)
        # above, at the second line above, inside, below
        for y in (top - height, top - 2 * height - 1, top, bottom - height, bottom)
        for x in (left, right - width, (left + right - width) / 2)
    ]
    for x, y in corners:
        x, y = min(max(x, 1), columns - width - 1), min(max(y, 1), rows - height - 1)
        plate = (x, y, x + width, y + height)
        if not any(_overlap(plate, other) for other in taken):
            break
    else:
        return
    taken.append(plate)
    draw.rounded_rectangle(plate, radius=3, fill=fill)
    middle = ((plate[0] + plate[2]) / 2, (plate[1] + plate[3]) / 2)
    draw.text(middle, text, contrasting(fill), face, anchor="mm")


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0)


def free_place(mask: np.ndarray, width: float, height: float, least: float) -> tuple[int, int] | None:
    """Where a name fits into a region: as near to its centre as there is room.

    Args:
        mask: the region, bool (rows, columns).
        width: of the name, pixels.
        height: of the name, pixels.
        least: share of the name, 0 to 1, that must fit.

    Returns:
        (x, y) of the name's middle; None if it does not fit.
    """
    padded = np.pad(mask, 1)  # the picture's edge ends a region, too
    across = np.minimum(_run(padded, 1), _run(padded[:, ::-1], 1)[:, ::-1])
    along = np.minimum(_run(padded, 0), _run(padded[::-1], 0)[::-1])
    fits = np.minimum(np.minimum(2 * across / width, 2 * along / height), 1)[1:-1, 1:-1]
    if fits.max() < least:
        return None
    y, x = np.nonzero(fits >= fits.max() - 1e-6)
    rows, columns = np.nonzero(mask)
    nearest = np.argmin((y - rows.mean()) ** 2 + (x - columns.mean()) ** 2)
    return int(x[nearest]), int(y[nearest])


def _run(mask: np.ndarray, axis: int) -> np.ndarray:
    """How many pixels of the region lie in a row, up to and with each one, along an axis."""
    count = np.cumsum(mask, axis)
    return count - np.maximum.accumulate(np.where(mask, 0, count), axis)


def outline(index: np.ndarray) -> np.ndarray:
    """Pixels whose right or lower neighbour has another value; bool, shape of `index`."""
    edge = np.zeros(index.shape, bool)
    edge[:, :-1] |= index[:, :-1] != index[:, 1:]
    edge[:-1] |= index[:-1] != index[1:]
    return edge


def blend(image: Image.Image, mask: np.ndarray, tint: Colour, share: float) -> Image.Image:
    """Mixes a colour into an image where the mask is set. `share`: of the colour, 0 to 1."""
    pixels = np.asarray(image, np.float32).copy()  # (h, w, 3)
    pixels[mask] += share * (np.asarray(tint, np.float32) - pixels[mask])
    return Image.fromarray(pixels.astype(np.uint8))


def chips(width: int, entries: Sequence[tuple[Colour, str]], lines: int = 3) -> Image.Image:
    """Colour swatches with names, in lines as text is; those that do not fit are counted."""
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
    """A strip of colours between what its two ends mean."""
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
