"""A label as one small file: at most 480 pixels long, losslessly packed, with what stands beside its PNG.

It is a WebP picture, which for labels of every kind is the smallest of Pillow's lossless formats
(docs/shards.md); the sidecar's JSON is its XMP chunk. A label that says "nothing here" has zero bytes, as
its PNG has.
"""

import io
import json
from typing import Any

from PIL import Image

from common.strict_json import parse_json

LONG_SIDE = 480  # pixels; labels are used at 224, after a crop that keeps at least half of the area
SUFFIX = ".webp"
_METHOD = 2  # of WebP, 0..6; 4 takes 1.5 times as long for 2 %, 6 a hundred times for 5 %


def packed_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the packed label of an image."""
    longer = max(size)
    if longer <= LONG_SIDE:
        return size
    width, height = (max(1, round(side * LONG_SIDE / longer)) for side in size)
    return width, height


def pack_label(picture: Image.Image | None, sidecar: dict[str, Any] | None = None) -> bytes:
    """Packs a label.

    Args:
        picture: of 8 bits, grey or RGB; None: nothing here.
        sidecar: what stands beside the PNG.
    """
    if picture is None:
        return b""
    small = picture.resize(packed_size(picture.size), Image.Resampling.NEAREST)
    file = io.BytesIO()
    beside = {} if sidecar is None else {"xmp": json.dumps(sidecar, separators=(",", ":")).encode()}
    small.save(file, "WEBP", lossless=True, quality=75, method=_METHOD, exact=True, **beside)
    return file.getvalue()


def unpack_label(content: bytes, channels: int) -> tuple[Image.Image | None, dict[str, Any] | None]:
    """The inverse of `pack_label`, but for the size.

    Args:
        content: a packed label.
        channels: of the label; WebP stores grey as RGB.

    Raises:
        Exception: damaged.
    """
    if not content:
        return None, None
    with Image.open(io.BytesIO(content), formats=["WEBP"]) as picture:
        sidecar = parse_json(picture.info["xmp"]) if "xmp" in picture.info else None
        picture.load()
        return (picture.getchannel(0) if channels == 1 else picture.convert("RGB")), sidecar
