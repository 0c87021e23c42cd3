"""Uploads of strangers: images are read, and everything else is refused in a sentence."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from common.errors import UserError
from helpers.web.visitors import LONG_SIDE, read_upload

LIMIT = 1_000_000


def claiming(width: int, height: int) -> bytes:
    """A PNG of a hundred bytes whose header claims a size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_the_name_of_an_upload_does_not_matter(tmp_path, kind):
    noise(40, 30).save(tmp_path / "upload", kind)
    assert np.array_equal(read_upload(tmp_path / "upload", LIMIT), noise(40, 30))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "I;16"])
def test_every_kind_of_pixel_becomes_rgb(tmp_path, mode):
    Image.new(mode, (20, 10)).save(tmp_path / "upload.png")
    picture = read_upload(tmp_path / "upload.png", LIMIT)
    assert (picture.mode, picture.size) == ("RGB", (20, 10))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG"])
def test_a_photo_taken_sideways_is_turned_upright(tmp_path, kind):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # turn clockwise
    sideways = Image.new("RGB", (40, 20))
    sideways.paste((255, 255, 255), (0, 0, 40, 10))
    sideways.save(tmp_path / "upload", kind, exif=exif)
    picture = np.asarray(read_upload(tmp_path / "upload", LIMIT))
    assert picture.shape == (40, 20, 3)
    assert picture[:, 12:].min() > 200  # the upper edge has come to the right
    assert picture[:, :8].max() < 50


def test_a_large_image_is_shrunk(tmp_path):
    noise(1400, 700).save(tmp_path / "upload", "JPEG")
    assert read_upload(tmp_path / "upload", LIMIT).size == (LONG_SIDE, LONG_SIDE // 2)


def content(kind: str) -> bytes:
    buffer = io.BytesIO()
    noise(300, 200).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"", "not an image that can be read here"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image that can be read here"),
        (content("GIF"), "not an image that can be read here"),
        (content("JPEG")[:9000], "This image is damaged"),
        (content("PNG")[:3000], "This image is damaged"),
        (claiming(300, 200), "This image is damaged"),
        (claiming(2000, 1000), "too large: 2000 x 1000 pixels, the limit is 1 megapixels"),
        (claiming(60_000, 60_000), "too large: the limit is 1 megapixels"),
        (claiming(2**31 - 1, 1), "too large"),
        (claiming(0, 10), "damaged|not an image"),
    ],
    ids=["empty", "eps", "gif", "half a jpeg", "half a png", "no pixels", "large", "bomb", "wide bomb", "no width"],
)
def test_other_uploads_are_refused_in_a_sentence(tmp_path, sent, expected):
    (tmp_path / "upload").write_bytes(sent)
    with pytest.raises(UserError, match=expected) as error:
        read_upload(tmp_path / "upload", LIMIT)
    assert str(tmp_path) not in str(error.value)
