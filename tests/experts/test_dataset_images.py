"""Which images a run labels, and under which names."""

from pathlib import Path

import pytest

from common.errors import UserError
from dataset.shards.pack import pack
from dataset.shards.writer import write_shard
from experts.dataset_images import images_and_shards, images_to_label


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_labels_mirror_the_paths_of_images(tmp_path):
    _touch(tmp_path, "x/b.JPG", "x/deep/er/a.v2.png", "y/c.tiff", "x/note.txt", ".hidden/d.png", "x/._e.png")
    found = images_to_label(tmp_path)
    assert [image.label for image in found] == ["x/b", "x/deep/er/a.v2", "y/c"]
    assert found[0].path == f"{tmp_path}/x/b.JPG"


def test_chosen_folders_prefix_and_exclusion(tmp_path):
    _touch(tmp_path, "x/a.png", "y/b.png", "y/labels/depth/b.png")
    found = images_to_label(tmp_path, ["y"], prefix="set", leave_out=tmp_path / "y" / "labels")
    assert [image.label for image in found] == ["set/y/b"]
    found = images_to_label(tmp_path, ["./x/", "y"], prefix=".", leave_out=tmp_path / "y" / "labels")
    assert [image.label for image in found] == ["x/a", "y/b"]
    assert images_to_label(tmp_path, ["y", "x"], leave_out=tmp_path / "y" / "labels") == found  # by name


@pytest.mark.parametrize("name", ["..", "x/../../y", "/"])
def test_labels_stay_in_their_folder(tmp_path, name):
    """Of `/data/photos` the labels would lie beside the images, and be taken for them."""
    _touch(tmp_path, "x/a.png")
    name = str(tmp_path / "x") if name == "/" else name
    with pytest.raises(UserError, match="name a folder below data_path"):
        images_to_label(tmp_path, [name])
    with pytest.raises(UserError, match="name a folder below data_path"):
        pack(tmp_path, tmp_path / "labels", tmp_path / "out", dataset=name)


def test_labels_do_not_lie_among_the_images(tmp_path):
    _touch(tmp_path, "x/a.png")
    with pytest.raises(UserError, match="labels would lie among the images"):
        images_to_label(tmp_path / "x", leave_out=tmp_path / "x" / ".." / "x")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="missing is missing; check data_path"):
        images_to_label(tmp_path, ["missing"])
    _touch(tmp_path, "x/a.png")
    with pytest.raises(UserError, match=r"a\.png is a file; check data_path"):
        images_to_label(tmp_path / "x" / "a.png")


def test_a_folder_that_was_named_has_images_or_is_an_error_beside_shards_too(tmp_path):
    write_shard(tmp_path / "web" / "00000.tar", {"a.jpg": b"image"}.items())
    (tmp_path / "empty").mkdir()
    (shard,) = images_and_shards(tmp_path, (), "", tmp_path / "labels")
    assert (shard.label, shard.label_name) == ("web/00000", "00000.tar")
    with pytest.raises(UserError, match="empty"):
        images_and_shards(tmp_path, ("web", "empty"), "", tmp_path / "labels")
