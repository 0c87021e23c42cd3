"""Listing and reading images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experts.images import list_images, read_image
from model.errors import UserError


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_labels_mirror_the_paths_of_images(tmp_path):
    _touch(tmp_path, "x/b.JPG", "x/deep/er/a.v2.png", "y/c.tiff", "x/note.txt", ".hidden/d.png", "x/._e.png")
    found = list_images(tmp_path)
    assert [image.label for image in found] == ["x/b", "x/deep/er/a.v2", "y/c"]
    assert found[0].path == tmp_path / "x/b.JPG"


def test_chosen_folders_prefix_and_exclusion(tmp_path):
    _touch(tmp_path, "x/a.png", "y/b.png", "y/labels/depth/b.png")
    found = list_images(tmp_path, ["y"], prefix="set", exclude=tmp_path / "y" / "labels")
    assert [image.label for image in found] == ["set/y/b"]


def test_images_that_would_share_a_label_are_refused(tmp_path):
    _touch(tmp_path, "x/a.png", "x/a.jpg")
    with pytest.raises(UserError, match=r"x/a\.(png|jpg) and .*x/a\.(png|jpg) would share"):
        list_images(tmp_path)


def test_no_folder_and_no_images(tmp_path):
    with pytest.raises(UserError, match="missing: no such image folder"):
        list_images(tmp_path, ["missing"])
    with pytest.raises(UserError, match="no image found"):
        list_images(tmp_path)


def test_every_mode_becomes_rgb(tmp_path):
    deep = np.array([[0, 256 * 100], [256 * 200, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.asarray(read_image(tmp_path / "deep.png"))[..., 0].tolist() == [[0, 100], [200, 255]]
    for mode in ("L", "RGBA", "CMYK", "P", "LA", "1"):
        path = tmp_path / f"{mode}.tif"
        Image.new(mode, (4, 3)).save(path)
        assert read_image(path).mode == "RGB"


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_unreadable_images_say_why(tmp_path, content):
    path = tmp_path / "broken.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:4000] if content is None else content)
    with pytest.raises(ValueError, match=r"truncated|cannot identify"):
        read_image(path)
