"""The attribution of a text as a picture: each word's attention by modality, and the effect of each expert."""

from PIL import Image, ImageDraw

from helpers.figures.drawing import GREY, INK, WHITE, Colour, chips, contrasting, font, modality_colour, shorten, title
from model.attribution import Attribution

ROW, GAP, HEAD = 26, 18, 92
WORD_WIDTH = 120
CELL_WIDTH = 86  # of an expert's column
LIKELIER: Colour = (0, 114, 178)
LESS_LIKELY: Colour = (213, 94, 0)
EFFECTS = "Effect of the expert, nats"
FULL_COLOUR = 3.0  # nats; a factor of twenty
NOTE = (
    "Bars: attention shares, 100 % for a word. Attention is not cause: the numbers on the right say "
    "by how many nats each word is likelier with the expert than without it."
)


def draw_attribution(attribution: Attribution, width: int = 1240) -> Image.Image:
    """Draws a bar of attention shares for each word, and beside it the effect of each expert.

    Args:
        attribution: of a caption or an answer.
        width: of the picture, pixels; at least 640.
    """
    words, experts = attribution.words, list(attribution.effects)
    heading = font(14, bold=True)
    table = max(len(experts) * CELL_WIDTH, round(heading.getlength(EFFECTS)))
    left = GAP + WORD_WIDTH
    full = width - left - GAP - (table + GAP if experts else 0)  # width of a bar
    picture = Image.new("RGB", (width, HEAD + (len(words) + bool(experts)) * ROW + 40), WHITE)
    draw = ImageDraw.Draw(picture)
    draw.text((left, 16), "What each word attended to", INK, heading, anchor="lm")
    picture.paste(chips(full, [(modality_colour(name), title(name)) for name in attribution.masses]), (left, 30))
    for row, word in enumerate(words):
        x, y = left, HEAD + row * ROW
        text = shorten(word, font(14), WORD_WIDTH - 10)
        draw.text((left - 8, y + ROW / 2), text, INK, font(14), anchor="rm")
        for name, masses in attribution.masses.items():
            mass, fill = float(masses[row]), modality_colour(name)
            end = x + mass * full
            draw.rectangle((x, y + 3, end, y + ROW - 4), fill=fill, outline=WHITE)
            label = f"{100 * mass:.0f} %"
            if font(11).getlength(label) + 6 < end - x:
                draw.text(((x + end) / 2, y + ROW / 2), label, contrasting(fill), font(11), anchor="mm")
            x = end

    start = left + full + GAP  # of the table
    if experts:
        draw.text((start, 16), EFFECTS, INK, heading, anchor="lm")
        y = HEAD + (len(words) + 0.5) * ROW
        draw.text((start - 8, y), "all words", INK, heading, anchor="rm")
    for column, (name, effect) in enumerate(attribution.effects.items()):
        x = start + column * CELL_WIDTH
        _column_head(draw, x, title(name))
        for row, nats in enumerate([*effect.tolist(), effect.sum().item()]):
            _effect(draw, x, HEAD + row * ROW, nats)
    note = shorten(NOTE, font(12), width - 2 * GAP)
    draw.text((GAP, picture.height - 18), note, GREY, font(12), anchor="lm")
    return picture


def _column_head(draw: ImageDraw.ImageDraw, x: float, name: str) -> None:
    face = font(11)
    lines = name.split(" ") if face.getlength(name) > CELL_WIDTH - 4 else [name]
    for row, line in enumerate(reversed(lines)):
        text = shorten(line, face, CELL_WIDTH - 2)
        draw.text((x + CELL_WIDTH / 2, HEAD - 10 - 14 * row), text, INK, face, anchor="mm")


def _effect(draw: ImageDraw.ImageDraw, x: float, y: float, nats: float) -> None:
    """A number on a colour: blue where the expert made the word likelier, orange where less likely."""
    share = min(abs(nats) / FULL_COLOUR, 1.0)
    base = LIKELIER if nats > 0 else LESS_LIKELY
    fill = tuple(round(255 + share * (part - 255)) for part in base)
    draw.rectangle((x + 1, y + 2, x + CELL_WIDTH - 2, y + ROW - 3), fill=fill)
    text, ink = ("0.0", GREY) if abs(nats) < 0.05 else (f"{nats:+.1f}", contrasting(fill))
    draw.text((x + CELL_WIDTH / 2, y + ROW / 2), text, ink, font(12), anchor="mm")
