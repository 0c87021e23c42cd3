"""Pictures and their legends as HTML without files."""

import base64
import io
from html import escape

from PIL import Image

from helpers.figures.drawing import Colour
from helpers.figures.label_pictures import Panel

STEPS = 8  # between the ends of a scale


def inline(picture: Image.Image) -> str:
    """A picture as a data URL: PNG or JPEG, whichever is smaller."""
    formats = []
    for form, options in (("png", {"optimize": True}), ("jpeg", {"quality": 88})):
        buffer = io.BytesIO()
        picture.save(buffer, format=form, **options)
        formats.append((buffer.getbuffer().nbytes, form, buffer.getvalue()))
    _, form, content = min(formats)
    return f"data:image/{form};base64,{base64.b64encode(content).decode()}"


def panel_key(panel: Panel) -> str:
    """A panel's scale (class `scale`, its colours in a `b`) or legend (`span`s, their colours in `i`s)."""
    if panel.scale is not None:
        colours = panel.scale.colours
        places = [round(step / STEPS * (len(colours) - 1)) for step in range(STEPS + 1)]
        stops = ", ".join(_css(colours[place]) for place in places)  # both ends are among them
        bar = f'<b style="background: linear-gradient(to right, {stops})"></b>'
        return f'<span class="scale">{panel.scale.low}{bar}{panel.scale.high}</span>'
    return "\n".join(
        f'<span><i style="background: {_css(colour)}"></i>{escape(name)}</span>' for colour, name in panel.legend
    )


def _css(colour: Colour) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)
