"""Every data set reads shards as it reads folders."""

from collections.abc import Callable
from pathlib import Path

import pytest
from torch.utils.data import Dataset

from benchmarks.file_server import FileServer
from dataset.captions import caption_dataset
from dataset.classification import classification_dataset
from dataset.location import Url
from dataset.pretraining import pretraining_dataset
from dataset.questions import question_dataset
from dataset.shards.pack import pack
from tests.dataset.disk import EXPERTS, Disk, visual_of
from tests.dataset.shards.test_pack import assert_same

Open = Callable[[Path | Url, object], Dataset]


def captions(disk: Disk) -> tuple[list[str], Open]:
    images = [f"val2014/COCO_{number}.jpg" for number in (5, 3, 9)]
    for image in images:
        disk.add(image, "vqav2")
    rows = [{"image": image, "caption": ["a cat", "it"]} for image in images]
    disk.write("coco_karpathy_train.json", rows)
    return ["vqav2"], lambda place, visual: caption_dataset("coco", "train", place, visual)


def own_list(disk: Disk) -> tuple[list[str], Open]:
    for image in ("x/b.png", "a.png"):
        disk.add(image)
    disk.write("test.jsonl", '{"image": "x/b.png"}\n{"image": "a.png"}\n')
    return [""], lambda place, visual: caption_dataset("custom", "test", place, visual, test_list="test.jsonl")


def questions(disk: Disk) -> tuple[list[str], Open]:
    disk.add("1.jpg", "vg")
    disk.write("vg_qa.json", [{"image": "1.jpg", "question": "why", "answer": "so"}])
    return ["vg"], lambda place, visual: question_dataset("vg", "train", place, visual)


def classes(disk: Disk) -> tuple[list[str], Open]:
    for name in ("n02/b.JPEG", "n01/a.JPEG", "n01/c.JPEG", "n02/d.JPEG"):
        disk.add(name, "imagenet_train")
    disk.add("n01/e.JPEG", "imagenet")
    disk.write("imagenet/imagenet_answer.json", ["tench", "goldfish"])
    disk.write("imagenet/imagenet_class.json", {"n02": 1, "n01": 0})
    opened = lambda place, visual: classification_dataset("train", place, visual, shots=2)  # noqa: E731
    return ["imagenet_train", "imagenet"], opened


def crawled(disk: Disk) -> tuple[list[str], Open]:
    for number in range(3):
        path = disk.add(f"00000/{number:09d}.jpg", "cc12m")
        path.with_suffix(".txt").write_text(f"number {number}")
    return ["cc12m"], lambda place, visual: pretraining_dataset({"cc12m": place}, visual)


@pytest.mark.parametrize("make", [captions, own_list, questions, classes, crawled])
def test_shards_on_a_disk_and_on_a_server(disk: Disk, tmp_path: Path, make: Callable) -> None:
    folders, open_data = make(disk)
    out = tmp_path / "out"
    for folder in folders:
        pack(disk.data, disk.labels, out, dataset=folder, shard_size=2)
    expected = open_data(disk.data, visual_of(disk))
    with FileServer(out) as server:
        for place in (out, Url(server.url)):
            found = open_data(place, visual_of(disk, label_path=place / "labels", experts=EXPERTS))
            assert len(found) == len(expected)
            assert found.image_keys() == expected.image_keys()
            for index in range(len(expected)):
                one, other = found[index], expected[index]
                assert_same(one, other)
                texts = one.keys() - {"rgb", "labels", "tables"}
                assert {key: one[key] for key in texts} == {key: other[key] for key in texts}
