"""Labels: layouts old and new, empty labels, and the messages about mistakes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import UserError
from dataset.label_files import DamagedLabel, read_words
from dataset.labels import LabelReader
from model.modalities import EMBEDDING_DIM, MODALITIES
from tests.dataset.disk import EXPERTS, SIZE, Disk

IMAGE = "sub/photo.v2.jpg"
KEY = "set/sub/photo.v2"


@pytest.fixture
def reader(disk: Disk) -> LabelReader:
    disk.add(IMAGE, "set")
    return LabelReader(disk.labels, EXPERTS)


def label(reader: LabelReader, expert: str) -> Path:
    return reader.path(MODALITIES[expert], KEY)


def test_all_labels_of_an_image(reader: LabelReader) -> None:
    reader.open_folder("set")
    pictures, tables = reader.read(KEY, SIZE)
    assert list(pictures) == list(EXPERTS)
    for name, picture in pictures.items():
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(Image.open(label(reader, name))))
    assert tables["obj_detection"].tolist() == [5, 700, 9]
    assert tables["obj_detection"].dtype == torch.int64
    assert tables["ocr_detection"].dtype == torch.float32
    assert tables["ocr_detection"][:, 0].tolist() == [1, 2, 3]


def test_old_words_are_read(reader: LabelReader) -> None:
    path = label(reader, "ocr_detection").with_suffix(".pt")
    path.with_suffix(".json").unlink()
    torch.save({0: {"features": torch.ones(EMBEDDING_DIM), "text": "stop"}}, path)
    assert reader.read(KEY, SIZE)[1]["ocr_detection"].tolist() == [[1] * EMBEDDING_DIM]
    assert read_words(path)[0].text == "stop"


@pytest.mark.parametrize(("size", "label"), [((960, 700), (480, 350)), ((500, 100), (480, 96)), ((480, 9), (480, 9))])
def test_packed_labels_are_smaller_than_large_images(
    reader: LabelReader, disk: Disk, size: tuple[int, int], label: tuple[int, int]
) -> None:
    Image.new("L", label, 7).save(reader.path(MODALITIES["depth"], KEY))
    alone = LabelReader(disk.labels, ["depth"])
    assert alone.read(KEY, size)[0]["depth"].size == label
    with pytest.raises(UserError, match=f"is {label[0]} x {label[1]} but its image"):
        alone.read(KEY, (size[0] + 40, size[1]))


def test_empty_labels(reader: LabelReader, disk: Disk) -> None:
    for name in EXPERTS:
        label(reader, name).write_bytes(b"")
    pictures, tables = reader.read(KEY, SIZE)
    for name, picture in pictures.items():
        assert picture.size == SIZE
        assert (np.asarray(picture) == MODALITIES[name].fill).all()
    assert tables["obj_detection"].tolist() == [-1]
    assert tables["ocr_detection"].tolist() == [[0] * EMBEDDING_DIM]

    pictures, _ = LabelReader(disk.labels, EXPERTS, compat=True).read(KEY, SIZE)
    assert (np.asarray(pictures["seg_coco"]) == 0).all()
    assert (np.asarray(pictures["obj_detection"]) == 255).all()


def test_classes_beyond_the_table_are_refused(disk: Disk, reader: LabelReader) -> None:
    """They would be read as background."""
    for expert, enough in (("seg_coco", 3), ("obj_detection", 701)):
        alone = [expert]
        pixels = np.array(Image.open(label(reader, expert)))
        pixels[0] = 255  # nothing
        Image.fromarray(pixels).save(label(reader, expert))
        LabelReader(disk.labels, alone, classes={expert: enough}).read(KEY, SIZE)
        with pytest.raises(UserError, match=rf"class {enough - 1}, but the class table .* has {enough - 1}"):
            LabelReader(disk.labels, alone, classes={expert: enough - 1}).read(KEY, SIZE)


def test_a_missing_file_of_words_means_no_text_only_where_others_made_labels(reader: LabelReader, disk: Disk) -> None:
    """Ours leave an empty file where there is no text."""
    manifest = disk.labels / "ocr_detection" / "manifest.json"
    label(reader, "ocr_detection").unlink()
    manifest.write_text('{"made_elsewhere": 1}')
    assert reader.read(KEY, SIZE)[1]["ocr_detection"].tolist() == [[0] * EMBEDDING_DIM]
    manifest.write_text('{"made_elsewhere": 0}')
    reader = LabelReader(disk.labels, EXPERTS)
    with pytest.raises(UserError, match=r"ocr_detection/.*png is missing; run experts/generate_ocrdet\.py"):
        reader.read(KEY, SIZE)
    (disk.labels / "ocr_detection/set").rename(disk.labels / "ocr_detection/another")
    with pytest.raises(UserError, match=r"ocr_detection is missing; run experts/generate_ocrdet\.py"):
        reader.open_folder("set")


def test_instances_with_gaps_and_beyond_a_byte(reader: LabelReader) -> None:
    label(reader, "obj_detection").with_suffix(".json").write_text('{"3": 7, "300": 8}')
    assert reader.read(KEY, SIZE)[1]["obj_detection"].tolist() == [-1, -1, -1, 7]


@pytest.mark.parametrize(
    ("expert", "script"),
    [
        ("depth", "generate_depth.py"),
        ("normal", "generate_normal.py"),
        ("edge", "generate_edge.py"),
        ("seg_coco", "generate_segmentation.py"),
        ("obj_detection", "generate_objdet.py"),
    ],
)
def test_a_missing_label_names_the_script(reader: LabelReader, expert: str, script: str) -> None:
    label(reader, expert).unlink()
    with pytest.raises(UserError, match=rf"{expert}/{KEY}\.png is missing; run experts/{script}"):
        reader.read(KEY, SIZE)


def test_a_missing_folder(reader: LabelReader, disk: Disk) -> None:
    with pytest.raises(UserError, match=r"depth/other is missing; run experts/generate_depth\.py"):
        reader.open_folder("other")
    (disk.labels / "ocr_detection").rename(disk.labels / "moved")
    with pytest.raises(UserError, match=r"ocr_detection is missing; run experts/generate_ocrdet\.py"):
        reader.open_folder("set")


def test_a_data_set_without_any_text_has_no_folder_of_words(reader: LabelReader, disk: Disk) -> None:
    (disk.labels / "ocr_detection" / "set").rename(disk.labels / "ocr_detection" / "another")
    reader.open_folder("set")


def test_a_picture_of_another_kind(reader: LabelReader) -> None:
    Image.new("RGB", SIZE).save(label(reader, "seg_coco"))
    with pytest.raises(UserError, match=r"Pillow mode RGB, expected L \(8 bit, channels: 1\)"):
        reader.read(KEY, SIZE)


def test_a_picture_of_another_size(reader: LabelReader) -> None:
    Image.new("L", SIZE[::-1]).save(label(reader, "edge"))
    with pytest.raises(UserError, match=r"edge.* is 30 x 40 but its image is 40 x 30"):
        reader.read(KEY, SIZE)


DAMAGED = ["", "{", "[1]", '{"x": 1}', '{"0": null}', '{"0": {"text": "no features"}}']
DAMAGED += ['{"0": -1}', '{"0": 1.5}', '{"0": "cat"}', '{"0": true}']
DAMAGED += [json.dumps({"0": {"text": text, "features": [value] * 64}}) for text, value in (("a", "inf"), (None, 0))]
SHORT = json.dumps({"0": {"text": "short", "features": [1.0]}})
DAMAGED += ['{"0": ' + "9" * 5000 + "}", "[" * 100_000, '{"0": 1e999}', "\udcff"]


@pytest.mark.parametrize("content", [*DAMAGED, SHORT])
@pytest.mark.parametrize("expert", ["obj_detection", "ocr_detection"])
def test_damaged_sidecars(reader: LabelReader, expert: str, content: str) -> None:
    path = label(reader, expert).with_suffix(".json")
    path.write_text(content, errors="surrogateescape")
    with pytest.raises(DamagedLabel, match="damaged") as caught:
        reader.read(KEY, SIZE)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_sidecar(reader: LabelReader) -> None:
    label(reader, "obj_detection").with_suffix(".json").unlink()
    message = r"\.json is missing beside its PNG; delete that and run experts/generate_objdet\.py"
    with pytest.raises(UserError, match=message):
        reader.read(KEY, SIZE)
