"""A page for an image, with its labels, its caption and its attribution; a contact sheet of many images."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from common.files import write_atomically
from helpers.figures.attribution_picture import draw_attribution
from helpers.figures.drawing import GREY, INK, WHITE, Colour, font, readable, shorten, wrap
from helpers.figures.label_pictures import CELL, Panel
from model.attribution import Attribution

GAP = 18
TITLE_HEIGHT = 28
MIN_CELL = 150  # wide enough for a title and a legend
LINE: Colour = (208, 211, 216)
STRIP: Colour = (240, 242, 245)
MAX_BYTES = 1_000_000  # of a PNG in full colour
ATTRIBUTION_WIDTH = 1100
THUMBNAIL = (CELL, 216)


def draw_figure(
    panels: Sequence[Panel], name: str, text: str | None, columns: int, attribution: Attribution | None = None
) -> Image.Image:
    """Lays out the panels of an image in a grid, then its text and the attribution of the text.

    Args:
        panels: all of one size.
        name: of the image.
        text: the caption; None if there is none yet.
        columns: panels in a row; fewer if they are wide, more if they are narrow.
        attribution: of the text.
    """
    size = panels[0].picture.size
    cell = max(size[0], MIN_CELL)
    room = columns * (CELL + GAP) // (cell + GAP)
    if size[1] <= 2 * size[0]:  # so that narrow panels make a row
        room = min(room, columns)
    columns = max(min(room, len(panels)), 1)
    width = max(columns * (cell + GAP) + GAP, 2 * (CELL + GAP))
    if attribution is not None:
        width = max(width, ATTRIBUTION_WIDTH)
    keys = [panel.key(cell) for panel in panels]
    heights = []  # of the rows, with titles and legends
    for start in range(0, len(panels), columns):
        below = max((key.height + 6 for key in keys[start : start + columns] if key), default=0)
        heights.append(TITLE_HEIGHT + size[1] + below + GAP // 2)
    caption = _caption(name, text, width - 2 * GAP)
    bars = draw_attribution(attribution, width) if attribution is not None and attribution.words else None

    top = sum(heights) + GAP // 2
    height = top + caption.height + GAP + (bars.height + GAP if bars else 0)
    page = Image.new("RGB", (width, height), WHITE)
    draw = ImageDraw.Draw(page)
    for place, (panel, key) in enumerate(zip(panels, keys, strict=True)):
        row, column = divmod(place, columns)
        x, y = GAP + column * (cell + GAP), GAP // 4 + sum(heights[:row])
        heading = shorten(panel.title, font(14, bold=True), cell)
        draw.text((x, y + TITLE_HEIGHT / 2 + 1), heading, INK, font(14, bold=True), anchor="lm")
        y += TITLE_HEIGHT
        page.paste(panel.picture, (x, y))
        draw.rectangle((x - 1, y - 1, x + size[0], y + size[1]), outline=LINE)
        if key:
            page.paste(key, (x, y + size[1] + 6))
    page.paste(caption, (GAP, top))
    if bars:
        page.paste(bars, (0, top + caption.height + GAP))
    return page


def _caption(name: str, text: str | None, width: int) -> Image.Image:
    """The text and, smaller, the image's name on a rounded strip."""
    shown, face = readable(text or "no caption yet", 22, bold=True)
    lines = wrap(shown, face, width - 2 * GAP, lines=4)
    picture = Image.new("RGB", (width, len(lines) * 31 + 44), WHITE)
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((0, 0, width - 1, picture.height - 1), radius=8, fill=STRIP)
    for row, line in enumerate(lines):
        draw.text((GAP, 26 + 31 * row), line, INK if text else GREY, face, anchor="lm")
    shown, face = readable(name, 13)
    draw.text((GAP, picture.height - 18), shorten(shown, face, width - 2 * GAP), GREY, face, anchor="lm")
    return picture


def thumbnail(image: Image.Image) -> Image.Image:
    """An image of any size in a frame of one size."""
    frame = Image.new("RGB", THUMBNAIL, STRIP)
    scale = min(THUMBNAIL[0] / image.width, THUMBNAIL[1] / image.height)
    size = max(round(image.width * scale), 1), max(round(image.height * scale), 1)
    small = image.resize(size, Image.Resampling.LANCZOS)
    frame.paste(small, ((THUMBNAIL[0] - size[0]) // 2, (THUMBNAIL[1] - size[1]) // 2))
    return frame


def draw_sheet(entries: Sequence[tuple[str, str | None, Image.Image]], columns: int) -> Image.Image:
    """A contact sheet.

    Args:
        entries: name, caption or None, and thumbnail of each image.
        columns: images in a row.
    """
    step = THUMBNAIL[1] + 3 * 19 + 30 + GAP
    columns = min(columns, len(entries))
    rows = -(-len(entries) // columns)
    page = Image.new("RGB", (columns * (CELL + GAP) + GAP, rows * step + GAP), WHITE)
    draw = ImageDraw.Draw(page)
    for place, (name, text, small) in enumerate(entries):
        row, column = divmod(place, columns)
        x, y = GAP + column * (CELL + GAP), GAP + row * step
        page.paste(small, (x, y))
        y += THUMBNAIL[1] + 8
        shown, face = readable(name, 12)
        draw.text((x, y + 8), shorten(shown, face, CELL), GREY, face, anchor="lm")
        shown, face = readable(text or "no caption yet", 14)
        for number, line in enumerate(wrap(shown, face, CELL, lines=3)):
            draw.text((x, y + 28 + 19 * number), line, INK if text else GREY, face, anchor="lm")
    return page


def save_picture(picture: Image.Image, path: Path) -> None:
    """Writes a PNG; with 256 colours if it is large, as that of a photograph."""

    def save(temporary: Path) -> None:
        picture.save(temporary, format="PNG", optimize=True)
        if temporary.stat().st_size > MAX_BYTES:
            picture.quantize(256, kmeans=1).save(temporary, format="PNG", optimize=True)

    write_atomically(path, save)
