"""Reading and listing images."""

import io
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from common.errors import UserError
from dataset.images import UnreadableImage, list_images, read_image, stored_size, turned_when_shown
from tests.mutations import mutated

GREY = np.arange(0, 256, 2, dtype=np.uint8).reshape(8, 16)


def everywhere(path: Path) -> np.ndarray:
    """The pixels of a file, checked to be the same by path, by content, in an open file and in memory."""
    pixels = np.asarray(read_image(path))
    with path.open("rb") as file, Image.open(path) as lazy:
        for source in (path.read_bytes(), file, lazy):
            np.testing.assert_array_equal(np.asarray(read_image(source)), pixels)
    return pixels


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [(mode, "png") for mode in ("RGB", "RGBA", "L", "LA", "P")]
    + [(mode, "tif") for mode in ("RGBA", "RGBX", "CMYK", "LA", "PA", "P")]
    + [("YCbCr", "jpg"), ("CMYK", "jpg"), ("RGB", "webp"), ("P", "gif"), ("1", "png")],
)
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str, suffix: str) -> None:
    grey = Image.fromarray(GREY)
    if mode == "1":
        grey = grey.point(lambda value: 255 * (value > 127))
    grey.convert(mode).save(tmp_path / f"x.{suffix}")
    np.testing.assert_allclose(everywhere(tmp_path / f"x.{suffix}")[..., 1], np.asarray(grey), atol=6)


@pytest.mark.parametrize("mode", ["La", "RGBa", "LAB", "HSV"])
def test_modes_that_only_memory_has(mode: str) -> None:
    image = Image.fromarray(GREY).convert("LA" if mode == "La" else "RGBA" if mode == "RGBa" else "RGB")
    if mode == "LAB":
        spaces = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
        image = ImageCms.profileToProfile(image, *spaces, outputMode="LAB")
    np.testing.assert_allclose(np.asarray(read_image(image.convert(mode)))[..., 1], GREY, atol=4)


@pytest.mark.parametrize(
    ("values", "suffix"),
    [
        (GREY.astype("<u2") * 257, "png"),
        (GREY.astype("<u2") * 257, "tif"),
        (GREY.astype(">u2") * 257, "tif"),
        (GREY.astype("i4"), "tif"),
        (GREY.astype("i4") * 257, "tif"),
        (GREY.astype("i4") * 0x808080, "tif"),
        (GREY.astype("f4") / 255, "tif"),
        (GREY.astype("f4"), "tif"),
        (GREY.astype("f4") * 257, "tif"),
    ],
)
def test_deep_grey_levels_keep_their_shade(tmp_path: Path, values: np.ndarray, suffix: str) -> None:
    Image.fromarray(values).save(tmp_path / f"x.{suffix}")
    np.testing.assert_allclose(everywhere(tmp_path / f"x.{suffix}")[..., 0], GREY, atol=1)
    np.testing.assert_allclose(np.asarray(read_image(Image.fromarray(values)))[..., 0], GREY, atol=1)


def test_16_bits_keep_the_upper_8(tmp_path: Path) -> None:
    values = np.array([[0, 256, 0x1234, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    assert np.asarray(read_image(tmp_path / "x.png"))[0, :, 0].tolist() == [0, 1, 0x12, 255]
    dark = np.array([0, 200, 256], dtype=">u2")  # white is 65535, whatever is in the image
    (tmp_path / "x.pgm").write_bytes(b"P5 3 1 65535\n" + dark.tobytes())
    assert np.asarray(read_image(tmp_path / "x.pgm"))[0, :, 0].tolist() == [0, 0, 1]
    Image.fromarray(values).save(tmp_path / "x.tif", tiffinfo={262: 0})  # 0 is white
    assert np.asarray(read_image(tmp_path / "x.tif"))[0, :, 0].tolist() == [255, 254, 0xED, 0]


@pytest.mark.parametrize("value", [np.float32("nan"), np.float32("inf"), np.float32(-1), np.int32(-1)])
def test_values_that_are_no_shade_of_grey_are_not_guessed(value: np.generic) -> None:
    with pytest.raises(UnreadableImage, match="no shades of grey; save it with 8 or 16 bits"):
        read_image(Image.fromarray(np.array([[value, 100]], dtype=value.dtype)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_an_image_is_read_as_stored_and_turned_on_request(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.zeros((16, 32, 3), dtype=np.uint8)
    stored[:8, :8] = 255
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(stored).save(path, exif=exif)
    np.testing.assert_allclose(everywhere(path), stored, atol=40)
    assert stored_size(path) == (32, 16)
    assert turned_when_shown(path) == (orientation != 1)
    turned = np.asarray(read_image(path, upright=True))
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(turned, expected)


_HEADERS = {  # of formats that Pillow reads and does not write
    "DCX": b"\xb1\x68\xde\x3a\x10\0\0\0",
    "FITS": b"SIMPLE  =                    T".ljust(80) + b"BITPIX  =  8".ljust(80),
    "FLI": b"\x20\0\0\0\x12\xaf\1\0\x10\0\x10\0\x08\0",
    "FTEX": b"FTEX\0\0\0\x01\x10\0\0\0\x10\0\0\0",
    "GBR": b"\0\0\0\x1c\0\0\0\2\0\0\0\x10\0\0\0\x10\0\0\0\4GIMP",
    "PCD": b"\0" * 2048 + b"PCD_",
    "PIXAR": b"\200\350\000\000",
    "PSD": b"8BPS\0\1\0\0\0\0\0\0\0\3\0\0\0\x10\0\0\0\x10\0\x08\0\3",
    "SUN": b"\x59\xa6\x6a\x95\0\0\0\x10\0\0\0\x10\0\0\0\x08",
    "XPM": b'/* XPM */\n"16 16 2 1",\n"a c #000000",',
}


@pytest.mark.filterwarnings("ignore")  # Pillow's, of damage that it reads all the same
def test_whatever_a_decoder_raises_the_image_is_unreadable(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    whole = [content.ljust(400, b"\1") for content in _HEADERS.values()]
    Image.init()
    for form in sorted(Image.SAVE):
        for mode in ("RGB", "L", "1", "F"):
            buffer = io.BytesIO()
            with suppress(Exception):  # this library lacks the codec, or the format the mode
                Image.fromarray(pixels).convert(mode).save(buffer, form)
                whole.append(buffer.getvalue())
                break
    path, unreadable = tmp_path / "x.png", 0
    for content in whole:
        for damaged in (b"", *mutated(content, 6, seed=len(content))):
            path.write_bytes(damaged)
            try:
                assert read_image(path).mode == "RGB"
                assert min(stored_size(path)) > 0
            except UnreadableImage as error:
                assert str(path) in str(error)  # noqa: PT017
                unreadable += 1
            turned_when_shown(path)
    assert unreadable > 3 * len(whole)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "x.jpg").touch()
    (tmp_path / "again").symlink_to(tmp_path)
    names = list_images(tmp_path)
    assert names == ["device.png", "loop.png", "pipe.jpg", "x.jpg"]
    for name in names:
        with pytest.raises(UnreadableImage, match=str(tmp_path / name)):
            read_image(tmp_path / name)


def test_a_name_too_long_for_its_labels_is_skipped(tmp_path: Path, caplog) -> None:
    names = ["a" * 250 + ".jpg", "b" * 251 + ".jpg"]
    for name in names:
        (tmp_path / name).touch()
    assert list_images(tmp_path) == names[:1]
    assert f"skipped {tmp_path}/{names[1]}: its name is too long" in caplog.text


def test_a_missing_image_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jpg: No such file or directory; check data_path"):
        read_image(tmp_path / "none.jpg")


def test_a_folder_is_listed_with_its_subfolders(tmp_path: Path) -> None:
    names = ["b.JPG", "a.jpeg", "sub/deep/c.PNG", "sub/d.webp", "e.bmp", "f.tif"]
    for name in [*names, ".hidden.png", "notes.txt", "labels/depth/helpers/a.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert list_images(tmp_path, leave_out=tmp_path / "labels") == sorted(names)


def test_what_a_folder_must_not_be(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing"):
        list_images(tmp_path / "none")
    with pytest.raises(UserError, match="has no images"):
        list_images(tmp_path)
    (tmp_path / "a.jpg").touch()
    (tmp_path / "a.png").touch()
    with pytest.raises(UserError, match=r"a\.jpg and a\.png would share labels"):
        list_images(tmp_path)


def test_a_linked_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").touch()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "train").symlink_to(tmp_path / "elsewhere")
    assert list_images(tmp_path / "images") == ["train/a.png"]
