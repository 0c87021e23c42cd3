"""Caption data sets as they lie on disk."""

import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from common.errors import UserError
from dataset.captions import CaptionDataset, caption_dataset, coco_image_id, demo_label_folder
from dataset.loader import collate
from dataset.shuffle import shuffled
from model.modalities import MODALITIES
from tests.dataset.disk import EXPERTS, SIZE, VISUAL, Disk, visual_of

COCO = ["train2014/COCO_train2014_000000000009.jpg", "train2014/COCO_train2014_000000391895.png"]


def open_data(disk: Disk, name: str = "custom", split: str = "train", **options: Any) -> CaptionDataset:
    visual = visual_of(disk, **{key: options.pop(key) for key in VISUAL & options.keys()})
    return caption_dataset(name, split, options.pop("data_path", disk.data), visual, **options)


def add_custom(disk: Disk, count: int = 6) -> list[str]:
    names = [f"sub/{number}.jpg" for number in range(count)]
    for name in names:
        disk.add(name)
    disk.write("list.json", [{"image": name, "caption": f"Number {name[4]}."} for name in names])
    return names


def test_coco(disk: Disk) -> None:
    for image in COCO:
        disk.add(image, "vqav2")
    disk.write("coco_karpathy_train.json", [{"image": image, "caption": "A  Cat."} for image in COCO])
    disk.write("coco_karpathy_test.json", [{"image": image, "caption": ["a", "b"]} for image in COCO])
    train = open_data(disk, "coco", prefix="A picture of")
    assert train[1]["caption"] == ["A picture of a cat"]
    test = open_data(disk, "coco", "test")
    assert [test[index]["image_id"] for index in (0, 1)] == [9, 391895]
    assert "caption" not in test[0]
    assert test.references() == {9: ["a", "b"], 391895: ["a", "b"]}

    annotations = [{"image_id": 9, "caption": "c"}, {"image_id": 391895, "caption": "d"}]
    disk.write("coco_karpathy_test_gt.json", {"annotations": annotations, "images": [{"id": 9}]})
    assert open_data(disk, "coco", "test").references() == {9: ["c"], 391895: ["d"]}
    disk.write("coco_karpathy_test_gt.json", [1])
    with pytest.raises(UserError, match=r"test_gt\.json: not in COCO's caption format"):
        open_data(disk, "coco", "test")


def test_an_image_can_bring_several_of_its_captions(disk: Disk) -> None:
    for image in ("a.png", "b.png"):
        disk.add(image)
    rows = [{"image": image, "caption": f"{image[0]}{i}"} for image in ("a.png", "b.png") for i in range(3)]
    disk.write("list.json", rows)
    train = open_data(disk, train_list="list.json", captions_per_image=2)
    assert len(train) == 2
    assert train[0]["caption"] == ["a0", "a1"]
    assert collate([train[0], train[1]])["caption"] == ["a0", "a1", "b0", "b1"]
    train.set_epoch(1)
    assert train[1]["caption"] == ["b2", "b0"]  # they take turns


def test_coco_names_end_in_a_number(disk: Disk) -> None:
    with pytest.raises(UserError, match="must end in its number"):
        coco_image_id({"image": "1" * 5000 + ".jpg"})
    disk.write("coco_karpathy_train.json", [{"image": "cat.jpg", "caption": "a"}])
    with pytest.raises(UserError, match=r"cat\.jpg.*must end in its number"):
        open_data(disk, "coco")


def test_nocaps(disk: Disk) -> None:
    disk.add("val/0013ea.jpg", "nocaps")
    disk.write("nocaps_val.json", [{"image": "val/0013ea.jpg", "img_id": 0}])
    test = open_data(disk, "nocaps", "test")
    assert test[0]["image_id"] == 0
    assert test.references() is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a.png", 1), ("a.png", 2)], "row 2: image 'a.png' has the id 2, but 1 in a row before"),
        ([("a.png", 1), ("b.png", "1")], "row 2: image 'b.png' has the id 1 of 'a.png'"),
        ([("a.png", True)], "row 1: 'image id' must be a number or a text"),
    ],
)
def test_ids_tell_test_images_apart(disk: Disk, rows: list, message: str) -> None:
    disk.write("nocaps_val.json", [{"image": image, "img_id": number} for image, number in rows])
    with pytest.raises(UserError, match=message):
        open_data(disk, "nocaps", "test")


def test_listed_images_that_share_labels(disk: Disk) -> None:
    disk.add("a.png")
    disk.add("a.jpg")
    disk.write("list.json", [{"image": name, "caption": "x"} for name in ("a.png", "a.png", "a.jpg")])
    with pytest.raises(UserError, match=r"a\.png and a\.jpg would share labels"):
        open_data(disk, train_list="list.json")
    assert len(open_data(disk, train_list="list.json", experts=())) == 3


def test_custom_lists(disk: Disk) -> None:
    disk.add("a.png")
    disk.add("sub/b.jpg")
    disk.write("train.json", [{"image": "a.png", "caption": ["one", "two"]}])
    disk.write("test.csv", "image,caption\na.png,one\nsub/b.jpg,two\na.png,three\n")
    train = open_data(disk, train_list="train.json")
    assert [train[index]["caption"] for index in range(len(train))] == [["one"], ["two"]]
    assert train.references() == {"a.png": ["one", "two"]}
    test = open_data(disk, split="test", test_list=str(disk.data / "test.csv"))
    assert [test[index]["image_id"] for index in range(len(test))] == ["a.png", "sub/b.jpg"]
    assert test.references() == {"a.png": ["one", "three"], "sub/b.jpg": ["two"]}


def test_custom_test_list_without_captions(disk: Disk) -> None:
    disk.add("a.png")
    disk.add("b.png")
    disk.write("test.jsonl", '{"image": "a.png"}\n{"image": "b.png"}\n')
    assert open_data(disk, split="test", test_list="test.jsonl").references() is None
    disk.write("test.jsonl", '{"image": "a.png"}\n{"image": "b.png", "caption": "b"}\n')
    with pytest.raises(UserError, match=r"test\.jsonl: image 'a\.png' has no caption, others have"):
        open_data(disk, split="test", test_list="test.jsonl")


def test_demo(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.labels = disk.data / "labels"
    for image in ("b.JPG", "sub/a.png"):
        disk.add(image)
    folder = demo_label_folder(disk.data)
    assert folder == disk.data.name  # not below this folder: its name
    for name in EXPERTS:
        labels = (disk.labels / name).rename(disk.labels / "moved")
        (disk.labels / name).mkdir()
        labels.rename(disk.labels / name / folder)
    demo = open_data(disk, "demo", "test")
    assert [demo[index]["image"] for index in range(len(demo))] == ["b.JPG", "sub/a.png"]
    assert demo.references() is None
    monkeypatch.chdir(disk.data.parent.parent)
    assert demo_label_folder(disk.data) == f"{disk.data.parent.name}/{disk.data.name}"


def test_prismerz_needs_no_labels(disk: Disk) -> None:
    disk.add("a.png", experts=())
    disk.write("list.json", [{"image": "a.png", "caption": "a"}])
    data = open_data(disk, train_list="list.json", experts=())
    assert data[0]["labels"] == data[0]["tables"] == {}


def test_a_sample_is_small(disk: Disk) -> None:
    disk.add("a.png")
    disk.write("list.json", [{"image": "a.png", "caption": "a"}])
    words = {str(i): {"text": "w", "features": [0.5] * 64} for i in range(255)}
    disk.write("words.json", words).rename(disk.label("ocr_detection", "a.png").with_suffix(".json"))
    data = open_data(disk, train_list="list.json", image_resolution=480, label_resolution=224)
    sample = data[0]
    tensors = [sample["rgb"], *sample["labels"].values(), *sample["tables"].values()]
    assert sum(tensor.nbytes for tensor in tensors) < 1.2e6
    assert sum(tensor.nbytes for tensor in tensors) > 3 * 480 * 480 + 8 * 224 * 224
    for name, label in sample["labels"].items():
        assert label.shape == (MODALITIES[name].channels, 224, 224)
        assert label.dtype == torch.uint8


def test_augmentation_depends_on_seed_epoch_and_index_alone(disk: Disk) -> None:
    add_custom(disk)
    first = open_data(disk, train_list="list.json", seed=3)
    again = open_data(disk, train_list="list.json", seed=3)
    again.set_epoch(1)
    other = again[2]["rgb"]
    again.set_epoch(0)
    assert torch.equal(first[2]["rgb"], again[2]["rgb"])
    assert not torch.equal(first[2]["rgb"], other)
    assert not torch.equal(first[2]["rgb"], open_data(disk, train_list="list.json", seed=4)[2]["rgb"])


def test_samples_of_one_image_are_augmented_differently(disk: Disk) -> None:
    disk.add("a.png")
    disk.write("list.json", [{"image": "a.png", "caption": ["one", "two"]}])
    data = open_data(disk, train_list="list.json")
    assert not torch.equal(data[0]["rgb"], data[1]["rgb"])


def test_workers_see_the_epoch_and_change_nothing(disk: Disk) -> None:
    add_custom(disk)
    data = open_data(disk, train_list="list.json")
    loader = DataLoader(data, 2, num_workers=2, collate_fn=collate, persistent_workers=True)
    for epoch in (0, 1):
        data.set_epoch(epoch)
        read = torch.cat([batch["rgb"] for batch in loader])
        assert torch.equal(read, torch.stack([data[index]["rgb"] for index in range(len(data))]))


def test_training_takes_the_next_sample_for_an_unreadable_image(disk: Disk, caplog: Any) -> None:
    names = add_custom(disk)
    for name in (names[5], names[0]):
        (disk.data / name).write_bytes((disk.data / name).read_bytes()[:200])
    data = open_data(disk, train_list="list.json")
    with caplog.at_level(logging.WARNING):
        assert [data[index]["index"] for index in (5, 5, 0, 1)] == [1, 1, 1, 1]
    assert data[5]["caption"] == ["number 1"]
    assert data.skipped == [names[0], names[5]]
    assert len(caplog.records) == 2
    for name in names:
        (disk.data / name).write_bytes(b"")
    with pytest.raises(UserError, match="no sample of the list can be read"):
        data[0]


def test_evaluation_drops_an_unreadable_image(disk: Disk) -> None:
    names = add_custom(disk)
    (disk.data / names[1]).write_bytes(b"")
    data = open_data(disk, split="test", test_list="list.json")
    assert data[1] is None
    batches = list(DataLoader(data, 2, num_workers=1, collate_fn=collate))
    assert [batch["index"].tolist() for batch in batches] == [[0], [2, 3], [4, 5]]
    assert data.skipped == [names[1]]


def test_samples_of_a_broken_shard_are_replaced_by_different_ones(disk: Disk, monkeypatch: Any) -> None:
    add_custom(disk, 9)
    data = open_data(disk, train_list="list.json")
    monkeypatch.setattr(data, "_is_broken", lambda index: index < 6)
    assert len({data[index]["index"] for index in range(6)} & {6, 7, 8}) > 1
    data.shards = np.arange(9) // 2 * 20
    assert torch.equal(data.order(3)(1), shuffled(9, 3, data.shards)(1))


def _annotations(*pairs: tuple[Any, Any]) -> dict[str, Any]:
    return {"annotations": [{"image_id": image, "caption": caption} for image, caption in pairs]}


@pytest.mark.parametrize(
    ("rows", "truth", "message"),
    [
        ([1, 2, 3], [(1, "a"), (3, "b")], "1 of the 3 listed images have no caption there .first: 2"),
        ([1, 2], [], "2 of the 2 listed images"),
        ([1], [("1", "a")], "image ids are texts there and numbers in the list"),
        ([1, 2], [(1, "a"), (2, None)], "annotation 2: 'caption' must be text, found None"),
        ([1], [(1, ["a"])], "annotation 1: 'caption' must be text"),
        ([1], [(None, "a")], "annotation 1: 'image_id' must be a number, found None"),
        ([1], [(1, "a \udcff")], "annotation 1: 'caption' must be text"),
        ([1], [(True, "a")], "annotation 1: 'image_id' must be a number, found True"),
    ],
)
def test_references_that_do_not_fit_the_list_are_found_before_any_work(
    disk: Disk, rows: list[int], truth: list[tuple[Any, Any]], message: str
) -> None:
    (disk.data / "vqav2").mkdir()
    disk.write("coco_karpathy_test.json", [{"image": f"a_{n}.jpg", "caption": ["a"]} for n in rows])
    disk.write("coco_karpathy_test_gt.json", _annotations(*truth))
    with pytest.raises(UserError, match=message) as error:
        open_data(disk, "coco", "test", experts=[])
    assert "coco_karpathy_test_gt.json" in str(error.value)


def test_a_caption_without_words_is_not_learned(disk: Disk, caplog: Any) -> None:
    names = add_custom(disk)
    rows = [{"image": names[0], "caption": ["...", "a cat"]}, {"image": names[1], "caption": "(!)"}]
    disk.write("list.json", rows)
    data = open_data(disk, train_list="list.json")
    assert [data.text(index)["caption"] for index in range(len(data))] == [["a cat"]]
    assert names[1] in caplog.text
    disk.write("list.json", rows[1:])
    with pytest.raises(UserError, match=r"list\.json: no caption has words"):
        open_data(disk, train_list="list.json")


def test_wrong_inputs(disk: Disk) -> None:
    names = add_custom(disk)
    with pytest.raises(UserError, match="key test_list is missing"):
        open_data(disk, split="test")
    with pytest.raises(UserError, match="unknown caption data set 'flickr'"):
        open_data(disk, "flickr")
    with pytest.raises(UserError, match="unknown caption data set 'demo'"):
        open_data(disk, "demo", "train")
    with pytest.raises(UserError, match="unknown expert 'sonar'"):
        open_data(disk, train_list="list.json", experts=["sonar"])
    with pytest.raises(UserError, match=r"depth is missing; run experts/generate_depth\.py"):
        open_data(disk, train_list="list.json", label_path=disk.data)
    with pytest.raises(UserError, match=r"data_path .*nowhere is missing"):
        open_data(disk, train_list="list.json", data_path=disk.data / "nowhere")
    with pytest.raises(UserError, match=r"coco_karpathy_train\.json: No such file"):
        open_data(disk, "coco")
    disk.write("coco_karpathy_train.json", [{"image": COCO[0], "caption": "a"}])
    with pytest.raises(UserError, match=r"image folder .*vqav2 is missing"):
        open_data(disk, "coco")

    data = open_data(disk, train_list="list.json")
    disk.add(names[0], size=(SIZE[0], SIZE[1] + 1), experts=())
    with pytest.raises(UserError, match="is 40 x 30 but its image is 40 x 31"):
        data[0]
    (disk.data / names[2]).unlink()
    with pytest.raises(UserError, match=rf"{names[2]}: No such file"):
        data[2]


def test_of_a_folder_what_lacks_is_passed_over(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody has named these files; an expert may have failed at one."""
    names = ["a.png", "b.png", "c.png"]
    for name in names:
        disk.add(name)
    for expert in EXPERTS:  # where the labels of a folder lie that is elsewhere
        (disk.labels / expert / disk.data.name).mkdir()
        for path in list((disk.labels / expert).glob("*.*")):
            path.rename(disk.labels / expert / disk.data.name / path.name)
    disk.label("depth", "b.png", disk.data.name).unlink()
    test = open_data(disk, "demo", "test")
    assert [sample and sample["image"] for sample in (test[0], test[1], test[2])] == ["a.png", None, "c.png"]
    assert test.skipped == ["b.png"]
    assert "depth/data/b.png is missing; run experts/generate_depth.py" in caplog.text
