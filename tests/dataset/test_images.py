"""Reading and listing images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset.images import UnreadableImage, list_images, read_image
from model.errors import UserError


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    grey = Image.linear_gradient("L").resize((16, 16))
    grey.convert(mode).save(tmp_path / "x.png")
    image = read_image(tmp_path / "x.png")
    assert image.mode == "RGB"
    if mode != "1":
        np.testing.assert_allclose(np.asarray(image)[..., 1], np.asarray(grey), atol=4)


def test_16_bits_keep_the_upper_8(tmp_path: Path) -> None:
    values = np.array([[0, 256, 0x1234, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    assert np.asarray(read_image(tmp_path / "x.png"))[0, :, 0].tolist() == [0, 1, 0x12, 255]


def test_the_exif_orientation_is_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.new("RGB", (20, 10)).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg").size == (20, 10)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_unreadable(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"<html>404</html>"):
        path.write_bytes(content)
        with pytest.raises(UnreadableImage, match=str(path)):
            read_image(path)


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
