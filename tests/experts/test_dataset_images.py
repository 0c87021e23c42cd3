"""The images that a run labels, and the names of their labels."""

from pathlib import Path

import pytest

from common.errors import UserError
from dataset.labels import MANIFEST
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
    labels = tmp_path / "y" / "labels"
    found = images_to_label(tmp_path, ["y"], prefix="set", leave_out=labels)
    assert [image.label for image in found] == ["set/y/b"]
    found = images_to_label(tmp_path, ["./x/", "y"], prefix=".", leave_out=labels)
    assert [image.label for image in found] == ["x/a", "y/b"]
    assert images_to_label(tmp_path, ["y", "x"], leave_out=labels) == found  # by name


def test_labels_of_other_folders_are_no_images(tmp_path, caplog):
    _touch(tmp_path, "depth/a.png", "x/labels.png", "x/labels/depth/b.png", "y/edge/b.png", "y/normal/b.png")
    _touch(tmp_path, f"other/edge/{MANIFEST}", "other/edge/c.png", "other/notes/d.png", "own/depth/e.png")
    write_shard(tmp_path / "other" / "edge" / "set" / "00000.tar", {"f.png": b"label"}.items())
    expected = ["depth/a", "other/notes/d", "x/labels", "y/edge/b", "y/normal/b"]  # folders without labels' marks
    for _ in range(2):
        found = images_and_shards(tmp_path, (), "", leave_out=tmp_path / "own")
        assert [image.label for image in found] == expected
    assert sorted(record.getMessage() for record in caplog.records) == [
        f"left out, labels of experts and no images: depth in {tmp_path}/x/labels",
        f"left out, labels of experts and no images: edge in {tmp_path}/other",
    ]
    named = images_to_label(tmp_path / "x" / "labels")  # a folder that is named itself is listed
    assert [image.label for image in named] == ["depth/b"]


@pytest.mark.parametrize(
    ("data", "datasets", "message"),
    [
        ("", ["../x"], "name a folder below data_path"),
        ("", ["x/../../y"], "name a folder below data_path"),
        ("", ["/x"], "name a folder below data_path"),
        ("", ["missing"], "missing is missing; check its name"),
        ("x/a.png", [], r"a\.png is a file; check its name"),
        ("labels/../labels", [], "labels would lie among the images"),
    ],
)
def test_folders_that_cannot_be_labelled(tmp_path, data, datasets, message):
    _touch(tmp_path, "x/a.png", "labels/a.png")
    with pytest.raises(UserError, match=message):
        images_to_label(tmp_path / data, datasets, leave_out=tmp_path / "labels")
    if "below" in message:
        with pytest.raises(UserError, match=message):
            pack(tmp_path, tmp_path / "labels", tmp_path / "out", dataset=datasets[0])


def test_a_folder_that_was_named_has_images_or_is_an_error_beside_shards_too(tmp_path):
    write_shard(tmp_path / "web" / "00000.tar", {"a.jpg": b"image"}.items())
    (tmp_path / "empty").mkdir()
    (shard,) = images_and_shards(tmp_path, (), "", tmp_path / "labels")
    assert (shard.label, shard.label_name) == ("web/00000", "00000.tar")
    with pytest.raises(UserError, match="empty"):
        images_and_shards(tmp_path, ("web", "empty"), "", tmp_path / "labels")


def test_shards_are_listed_wherever_their_data_path_lies(tmp_path):
    """The folders above a data path do not make it a folder of labels."""
    data = tmp_path / "labels" / "depth" / "data"
    write_shard(data / "web" / "00000.tar", {"a.jpg": b"image"}.items())
    (shard,) = images_and_shards(data, (), "", tmp_path / "own")
    assert shard.label == "web/00000"
