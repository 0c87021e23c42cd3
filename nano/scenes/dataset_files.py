"""Writes Scenes to disk: as COCO (captions) and VQAv2 (questions), as ImageNet (classes), or the demo's images."""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.errors import UserError
from common.files import write_bytes
from common.overwrite import Outputs
from common.progress import progress_bar
from common.workers import parallel_map
from model.modalities import MODALITIES
from nano.scenes.labels import make_labels
from nano.scenes.questions import answer_list
from nano.scenes.render import render
from nano.scenes.scene import describe_scene, render_scene
from nano.scenes.vocabulary import SOLIDS
from nano.scenes.world import World, sample_world

FIRST_TEST_ID = 1_000_000  # image ids of the test split start here, so that ids are unique
LABELS = ("depth", "normal", "seg_scenes", "edge", "obj_detection", "ocr_detection")
CLASS_FOLDERS = ("imagenet_train", "imagenet")  # training and test images of `write_classes`
_DEMO = ((8, ".png"), (25, ".jpg"), (6, ".jpeg"), (15, ".png"), (17, ".jpg"), (28, ".jpeg"))  # seed, suffix


@dataclass(frozen=True)
class Options:
    """What to write.

    Attributes:
        out: the data folder.
        seed: with the split and the index of a scene, it decides all bytes.
        long_side: of the images, in pixels.
        labels: whether to write the exact labels, under `out`/labels.
        outputs: decides whether existing lists are replaced.
    """

    out: Path
    seed: int
    long_side: int
    labels: bool
    outputs: Outputs = field(default_factory=lambda: Outputs("nano.scenes", overwrite=False))


def write_data(options: Options, train: int, test: int, workers: int) -> None:
    """Writes a training and a test split in the layout of COCO and VQAv2; existing scenes are kept.

    Raises:
        UserError: the folder holds scenes of another seed or size, or lists of something else.
    """
    _claim(options, _lists([], []), _is_of_scenes)
    jobs = [("train", i) for i in range(train)] + [("test", i) for i in range(test)]
    records = _run_jobs(partial(_write_scene, options), jobs, workers)
    _write_lists(options, _lists(records[:train], records[train:]))


def write_classes(options: Options, train: int, test: int, workers: int) -> None:
    """Writes scenes of one solid in ImageNet's layout: `train` and `test` images of each of the 32 classes.

    Raises:
        UserError: as for `write_data`.
    """
    lists = {
        "imagenet/imagenet_answer.json": SOLIDS,
        "imagenet/imagenet_class.json": {name.replace(" ", "_"): number for number, name in enumerate(SOLIDS)},
    }
    contents = {options.out / name: json.dumps(content) for name, content in lists.items()}
    _claim(options, lists, lambda path: path.read_text(errors="replace") == contents[path])
    jobs = [
        (split, number, index)
        for split, count in enumerate((train, test))
        for number in range(len(SOLIDS))
        for index in range(count)
    ]
    _run_jobs(partial(_write_class_image, options), jobs, workers)
    _write_lists(options, lists)


def demo_images(folder: Path) -> dict[Path, bytes]:
    """Six varied scenes, named after their contents, as .png, .jpg and .jpeg files of a folder."""
    files = {}
    for seed, suffix in _DEMO:
        scene = render_scene([2023, seed], long_side=320)
        counts = Counter(solid.name for solid in scene.world.solids).most_common(2)
        words = [name + "s" * (number > 1) for name, number in counts]
        if scene.world.sign:
            words = [words[0], scene.world.sign.word, "sign"]
        path = folder / ("_".join(words).replace(" ", "_") + suffix)
        files[path] = _png(scene.image) if suffix == ".png" else _jpeg(scene.image)
    return files


def _claim(options: Options, lists: Iterable[str], known: Callable[[Path], bool]) -> None:
    """Notes seed and size in the data folder, so that scenes of two seeds are not mixed.

    `known` tells by the content of an existing list that it is of Scenes.
    """
    options.outputs.check([options.out / name for name in lists], known=known)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "scenes.json"
    mine = {"seed": options.seed, "long_side": options.long_side}
    if not path.exists():
        _write_json(path, mine)
    elif (theirs := path.read_text()) != json.dumps(mine):
        raise UserError(f"{path} names other scenes ({theirs}); choose another --out or delete the folder")


def _run_jobs(task: Callable, jobs: list, workers: int) -> list:
    results = parallel_map(task, jobs, 0 if workers == 1 else workers, chunksize=8, fresh=True)
    return list(progress_bar(results, total=len(jobs), desc="scenes", unit="scene"))


def _write_scene(options: Options, job: tuple[str, int]) -> dict:
    """Writes the missing files of a scene; returns its part of the lists."""
    split, index = job
    image_id = index + (FIRST_TEST_ID if split == "test" else 0)
    folder = "val2014" if split == "test" else "train2014"
    name = f"{folder}/SCENE_{folder}_{image_id:012d}"
    world, captions, questions = describe_scene([options.seed, int(split == "test"), index], options.long_side)
    _write_files(options, world, f"vqav2/{name}", ".jpg")
    return {
        "image": f"{name}.jpg",
        "id": image_id,
        "captions": captions,
        "questions": [vars(question) for question in questions],
    }


def _write_class_image(options: Options, job: tuple[int, int, int]) -> None:
    """Writes the missing files of a scene of one solid; split, class and index decide all bytes."""
    split, number, index = job
    colour, shape = SOLIDS[number].split()
    rng = np.random.default_rng([options.seed, 2 + split, number, index])
    world = sample_world(rng, options.long_side, only=(shape, colour))
    _write_files(options, world, f"{CLASS_FOLDERS[split]}/{colour}_{shape}/{index:05d}", ".JPEG")


def _write_files(options: Options, world: World, name: str, suffix: str) -> None:
    """Writes the image and the labels of a world, unless all are there."""
    image = options.out / f"{name}{suffix}"
    label_files = {
        modality: options.out / "labels" / modality / f"{name}.png" for modality in LABELS if options.labels
    }
    if all(path.exists() for path in (image, *label_files.values())):
        return
    rendered = render(world)
    labels = make_labels(world, rendered) if label_files else None
    for modality, path in label_files.items():
        if path.exists():
            continue
        if modality in labels.sidecars:
            _write_json(path.with_suffix(MODALITIES[modality].sidecars[0]), labels.sidecars[modality])
        picture = labels.maps.get(modality)
        write_bytes(path, b"" if picture is None else _png(picture))  # an empty file: there is no word
    if not image.exists():
        write_bytes(image, _jpeg(rendered.image))


def _lists(train: list[dict], test: list[dict]) -> dict[str, Any]:
    """The content of each list, from the records of `_write_scene`."""
    captions = [(record["id"], caption) for record in test for caption in record["captions"]]
    return {
        "coco_karpathy_train.json": [
            {"image": record["image"], "caption": caption} for record in train for caption in record["captions"]
        ],
        "coco_karpathy_test.json": [{"image": record["image"], "caption": record["captions"]} for record in test],
        "coco_karpathy_test_gt.json": {
            "info": {"description": "Scenes, test split"},
            "licenses": [],
            "type": "captions",
            "images": [{"id": record["id"], "file_name": record["image"]} for record in test],
            "annotations": [
                {"id": number, "image_id": image_id, "caption": caption}
                for number, (image_id, caption) in enumerate(captions)
            ],
        },
        "vqav2_train_val.json": [
            {
                "dataset": "vqa",
                "image": record["image"],
                "question": question["question"],
                "answer": question["answer"],
                "weight": 1.0,
                "type": question["type"],
            }
            for record in train
            for question in record["questions"]
        ],
        "vqav2_test.json": [
            {
                "dataset": "vqa",
                "image": record["image"],
                "question": question["question"],
                "question_id": record["id"] * 100 + number,
                "answer": [question["answer"]] * 10,
                "type": question["type"],
            }
            for record in test
            for number, question in enumerate(record["questions"])
        ],
        "answer_list.json": answer_list(),
    }


def _is_of_scenes(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
        rows = content["images"] if isinstance(content, dict) and "images" in content else content
        return rows == answer_list() or all("/SCENE_" in row.get("image", row.get("file_name")) for row in rows)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return False


def _write_lists(options: Options, contents: dict[str, Any]) -> None:
    for name, content in contents.items():
        with options.outputs.writing(options.out / name):
            _write_json(options.out / name, content)


def _write_json(path: Path, content: Any) -> None:
    write_bytes(path, json.dumps(content).encode())


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=4)
    return file.getvalue()


def _jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()
