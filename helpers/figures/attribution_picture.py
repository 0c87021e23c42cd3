"""The attribution for a text as a picture: a bar for each word, and what leaving an expert out does to it."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from helpers.figures.drawing import (
    GREY,
    INK,
    WHITE,
    Colour,
    contrasting,
    font,
    modality_colour,
    shorten,
    title,
)
from model.attribution import Attribution

ROW, GAP = 26, 18
WORD_WIDTH = 120
CELL_WIDTH = 86  # of an expert's column
HEAD = 92
LIKELIER: Colour = (0, 114, 178)
LESS_LIKELY: Colour = (213, 94, 0)
EFFECTS = "Effect of the expert, nats"
FULL_COLOUR = 3.0  # nats; a factor of twenty
NOTE = (
    "Bars: cross-attention mass, 100 % for a word. Attention is not cause: the numbers on the right say "
    "by how many nats each word was likelier with the expert than without it."
)


def draw_attribution(attribution: Attribution, width: int = 1240) -> Image.Image:
    """Draws for each word a bar of its attention by modality; beside it, the effect of each expert.

    Args:
        attribution: of a caption or an answer.
        width: of the picture, pixels; at least 640.
    """
    experts = list(attribution.effects)
    heading = font(14, bold=True)
    table = max(len(experts) * CELL_WIDTH, round(heading.getlength(EFFECTS)))  # pixels
    left = GAP + WORD_WIDTH
    bar = width - left - GAP - (table + GAP if experts else 0)  # a full one's width
    rows = len(attribution.words) + bool(experts)
    picture = Image.new("RGB", (width, HEAD + rows * ROW + 40), WHITE)
    draw = ImageDraw.Draw(picture)
    _legend(draw, left, bar, list(attribution.masses))
    start = left + bar + GAP  # of the table
    if experts:
        draw.text((start, 16), EFFECTS, INK, heading, anchor="lm")
    for column, name in enumerate(experts):
        _column_head(draw, start + column * CELL_WIDTH, title(name))
    for row, word in enumerate(attribution.words):
        y = HEAD + row * ROW
        text = shorten(word, font(14), WORD_WIDTH - 10)
        draw.text((left - 8, y + ROW / 2), text, INK, font(14), anchor="rm")
        _bar(draw, (left, y), bar, [(name, float(mass[row])) for name, mass in attribution.masses.items()])
        for column, name in enumerate(experts):
            _effect(draw, (start + column * CELL_WIDTH, y), float(attribution.effects[name][row]))
    if experts:
        y = HEAD + len(attribution.words) * ROW
        draw.text((start - 8, y + ROW / 2), "all words", INK, font(14, bold=True), anchor="rm")
        for column, name in enumerate(experts):
            _effect(draw, (start + column * CELL_WIDTH, y), float(attribution.effects[name].sum()))
    note = shorten(NOTE, font(12), width - 2 * GAP)
    draw.text((GAP, picture.height - 18), note, GREY, font(12), anchor="lm")
    return picture


def _legend(draw: ImageDraw.ImageDraw, left: float, width: float, names: Sequence[str]) -> None:
    draw.text((left, 16), "What each word attended to", INK, font(14, bold=True), anchor="lm")
    face = font(13)
    x, y = left, 42.0
    for name in names:
        step = 26 + face.getlength(title(name)) + 16
        if x + step > left + width + GAP and x > left:
            x, y = left, y + 22
        draw.rounded_rectangle((x, y - 7, x + 20, y + 7), radius=3, fill=modality_colour(name))
        draw.text((x + 26, y), title(name), INK, face, anchor="lm")
        x += step


def _column_head(draw: ImageDraw.ImageDraw, x: float, name: str) -> None:
    face = font(11)
    lines = name.split(" ") if face.getlength(name) > CELL_WIDTH - 4 else [name]
    for row, line in enumerate(lines):
        y = HEAD - 10 - 14 * (len(lines) - 1 - row)
        draw.text((x + CELL_WIDTH / 2, y), shorten(line, face, CELL_WIDTH - 2), INK, face, anchor="mm")


def _bar(
    draw: ImageDraw.ImageDraw, corner: tuple[float, float], width: float, masses: Sequence[tuple[str, float]]
) -> None:
    x, y = corner
    face = font(11)
    for name, mass in masses:
        fill, right = modality_colour(name), x + mass * width
        draw.rectangle((x, y + 3, right, y + ROW - 4), fill=fill, outline=WHITE)
        label = f"{100 * mass:.0f} %"
        if face.getlength(label) + 6 < right - x:
            draw.text(((x + right) / 2, y + ROW / 2), label, contrasting(fill), face, anchor="mm")
        x = right


def _effect(draw: ImageDraw.ImageDraw, corner: tuple[float, float], nats: float) -> None:
    """A number on a colour: blue where the expert made the word likelier, orange where less likely."""
    x, y = corner
    share = min(abs(nats) / FULL_COLOUR, 1.0)
    base = LIKELIER if nats > 0 else LESS_LIKELY
    fill = tuple(round(255 + share * (part - 255)) for part in base)
    draw.rectangle((x + 1, y + 2, x + CELL_WIDTH - 2, y + ROW - 3), fill=fill)
    small = abs(nats) < 0.05
    text, ink = ("0.0", GREY) if small else (f"{nats:+.1f}", contrasting(fill))
    draw.text((x + CELL_WIDTH / 2, y + ROW / 2), text, ink, font(12), anchor="mm")
