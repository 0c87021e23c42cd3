"""Images of classes in ImageNet's layout."""

import pytest

from common.errors import UserError
from dataset.classification import ClassificationDataset, classification_dataset
from tests.dataset.disk import Disk, visual_of


def add_classes(disk: Disk, names: object = ("tench, Tinca", "goldfish")) -> None:
    for folder in ("n02", "n01"):
        for number in (2, 0, 1):
            disk.add(f"{folder}/{folder}_{number}.JPEG", "imagenet_train")
        disk.add(f"{folder}/val_{folder}.JPEG", "imagenet")
    disk.write("imagenet/imagenet_answer.json", names)
    disk.write("imagenet/imagenet_class.json", {"n02": 1, "n01": 0})


def open_data(disk: Disk, split: str = "train", **options: object) -> ClassificationDataset:
    return classification_dataset(split, disk.data, visual_of(disk), **options)


def test_the_first_images_of_each_class_by_name_are_learned(disk: Disk) -> None:
    add_classes(disk)
    data = open_data(disk, prefix="A photo of a", shots=2)
    expected = ["n01/n01_0.JPEG", "n01/n01_1.JPEG", "n02/n02_0.JPEG", "n02/n02_1.JPEG"]
    assert [data[index]["image"] for index in range(len(data))] == expected
    assert data[0]["caption"] == ["A photo of a tench, tinca"]
    assert [data[index]["class"] for index in range(4)] == [0, 0, 1, 1]
    assert len(open_data(disk, shots=1)) == 2


def test_all_test_images_come_with_the_test_transform(disk: Disk) -> None:
    add_classes(disk, {"0": "Tench", "1": "Gold-fish (a pet)"})
    data = open_data(disk, "test")
    assert [data[index]["image"] for index in range(len(data))] == ["n01/val_n01.JPEG", "n02/val_n02.JPEG"]
    assert data.names == ["tench", "gold-fish a pet"]  # as captions are, which are learned
    assert data.transform.crop_scale is None
    assert "caption" not in data[0]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("imagenet_answer.json", {"0": "a", "2": "b"}, "class '1' is missing"),
        ("imagenet_answer.json", ["a", ""], "expected class names by index"),
        ("imagenet_answer.json", ["a"], "class of 'n02' is 1, imagenet_answer.json has 1 names"),
        ("imagenet_answer.json", ["a", "(!)"], r"the name of class 1, '\(!\)', has no letters"),
        ("imagenet_class.json", [], "expected an object from folder to class index"),
        ("imagenet_class.json", {"n03": 0}, "n03 is missing"),
        ("imagenet_class.json", {"": 0}, "'' is no name of a folder"),
        ("imagenet_class.json", {"..": 0}, "'..' is no name of a folder"),
    ],
)
def test_wrong_lists_are_named(disk: Disk, file: str, content: object, message: str) -> None:
    add_classes(disk)
    disk.write(f"imagenet/{file}", content)
    with pytest.raises(UserError, match=message):
        open_data(disk)


def test_too_few_images(disk: Disk) -> None:
    add_classes(disk)
    with pytest.raises(UserError, match=r"n01: 3 images, fewer than 'shots' \(4\)"):
        open_data(disk, shots=4)
