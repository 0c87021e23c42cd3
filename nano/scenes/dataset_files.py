"""Writes Scenes to disk in the files and folders of COCO (captions) and VQAv2 (questions)."""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
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
from nano.scenes.world import World

DATASET = "vqav2"  # the folder that COCO's and VQAv2's images share
FIRST_TEST_ID = 1_000_000  # image ids of the test split start here, so that ids are unique
LISTS = (
    "coco_karpathy_train.json",
    "coco_karpathy_test.json",
    "coco_karpathy_test_gt.json",
    "vqav2_train_val.json",
    "vqav2_test.json",
    "answer_list.json",
)
LABELS = ("depth", "normal", "seg_scenes", "edge", "obj_detection", "ocr_detection")
_DEMO = ((8, ".png"), (25, ".jpg"), (6, ".jpeg"), (15, ".png"), (17, ".jpg"), (28, ".jpeg"))  # seed, suffix


@dataclass(frozen=True)
class Options:
    """What to write.

    Attributes:
        out: the data folder.
        seed: with the split and the index of a scene, all that decides its bytes.
        long_side: of the images, in pixels.
        labels: whether to write the exact labels, under `out`/labels.
        outputs: decides whether lists that are there are replaced.
    """

    out: Path
    seed: int
    long_side: int
    labels: bool
    outputs: Outputs = field(default_factory=lambda: Outputs("nano.scenes", overwrite=False))


def write_data(options: Options, train: int, test: int, workers: int) -> None:
    """Writes a train and a test split; what is there already is kept.

    Raises:
        UserError: the folder holds other scenes or lists, or cannot be written.
    """
    with claimed(options, LISTS, _is_of_scenes):
        jobs = [("train", i) for i in range(train)] + [("test", i) for i in range(test)]
        records = run_jobs(partial(write_scene, options), jobs, workers)
        write_lists(options, _lists(records[:train], records[train:]))


@contextmanager
def claimed(options: Options, lists: Iterable[str], known: Callable[[Path], bool]) -> Iterator[None]:
    """Makes the data folder and notes seed and size in it, so that scenes of two seeds cannot be mixed.

    Args:
        options: what to write.
        lists: the files that `write_lists` is going to write, below the data folder.
        known: tells by its content that one of them is of Scenes; earlier versions noted nothing.

    Raises:
        UserError: the folder holds other scenes or lists; or, inside, it cannot be written.
    """
    options.outputs.check([options.out / name for name in lists], known=known)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        _claim(options)
        yield
    except OSError as error:
        raise UserError(f"cannot write to {error.filename}: {error.strerror}; choose another --out") from None


def write_scene(options: Options, job: tuple[str, int]) -> dict:
    """Writes the files of one scene that are not there yet; returns what the lists need."""
    split, index = job
    image_id = index + (FIRST_TEST_ID if split == "test" else 0)
    folder = "val2014" if split == "test" else "train2014"
    name = f"{folder}/SCENE_{folder}_{image_id:012d}"
    world, captions, questions = describe_scene([options.seed, int(split == "test"), index], options.long_side)
    write_files(options, world, f"{DATASET}/{name}", ".jpg")
    return {
        "image": f"{name}.jpg",
        "id": image_id,
        "captions": captions,
        "questions": [vars(question) for question in questions],
    }


def write_files(options: Options, world: World, name: str, suffix: str) -> None:
    """Writes the image and the labels of a world that are not there yet."""
    image = options.out / f"{name}{suffix}"
    label_files = {
        modality: options.out / "labels" / modality / f"{name}.png" for modality in LABELS if options.labels
    }
    if not all(path.exists() for path in (image, *label_files.values())):
        rendered = render(world)
        labels = make_labels(world, rendered) if label_files else None
        for modality, path in label_files.items():
            if path.exists():
                continue
            if modality in labels.sidecars:
                sidecar = path.with_suffix(MODALITIES[modality].sidecars[0])
                _write_json(sidecar, labels.sidecars[modality])
            picture = labels.maps.get(modality)
            write_bytes(path, b"" if picture is None else _png(picture))  # empty: there is no word
        if not image.exists():
            write_bytes(image, _jpeg(rendered.image))


def demo_images(folder: Path) -> dict[Path, bytes]:
    """Six varied scenes, named after what is in them, as files .png, .jpg and .jpeg of a folder."""
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


def run_jobs(task: Callable, jobs: list, workers: int) -> list:
    """Calls a function on each job, in several processes, and returns what it returns, in order."""
    results = parallel_map(task, jobs, 0 if workers == 1 else workers, chunksize=8, fresh=True)
    return list(progress_bar(results, total=len(jobs), desc="scenes", unit="scene"))


def _claim(options: Options) -> None:
    path = options.out / "scenes.json"
    mine = {"seed": options.seed, "long_side": options.long_side}
    if path.exists():
        theirs = path.read_text()
        if theirs != json.dumps(mine):
            raise UserError(f"{path} tells of other scenes ({theirs}); choose another --out or delete the folder")
    else:
        _write_json(path, mine)


def write_lists(options: Options, contents: Mapping[str, Any]) -> None:
    """Writes JSON files by their names below the data folder."""
    for name, content in contents.items():
        with options.outputs.writing(options.out / name):
            _write_json(options.out / name, content)


def _is_of_scenes(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
        rows = content["images"] if isinstance(content, dict) and "images" in content else content
        return rows == answer_list() or all("/SCENE_" in row.get("image", row.get("file_name")) for row in rows)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return False


def _lists(train: list[dict], test: list[dict]) -> dict[str, Any]:
    caption_rows = [{"image": r["image"], "caption": caption} for r in train for caption in r["captions"]]
    test_rows = [{"image": r["image"], "caption": r["captions"]} for r in test]
    captions = [(r["id"], caption) for r in test for caption in r["captions"]]
    truth = {
        "info": {"description": "Scenes, test split"},
        "licenses": [],
        "type": "captions",
        "images": [{"id": r["id"], "file_name": r["image"]} for r in test],
        "annotations": [
            {"id": number, "image_id": image_id, "caption": caption}
            for number, (image_id, caption) in enumerate(captions)
        ],
    }
    question_rows = [
        {
            "dataset": "vqa",
            "image": r["image"],
            "question": q["question"],
            "answer": q["answer"],
            "weight": 1.0,
            "type": q["type"],
        }
        for r in train
        for q in r["questions"]
    ]
    test_questions = [
        {
            "dataset": "vqa",
            "image": r["image"],
            "question": q["question"],
            "question_id": r["id"] * 100 + number,
            "answer": [q["answer"]] * 10,
            "type": q["type"],
        }
        for r in test
        for number, q in enumerate(r["questions"])
    ]
    contents = caption_rows, test_rows, truth, question_rows, test_questions, answer_list()
    return dict(zip(LISTS, contents, strict=True))


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=4)
    return file.getvalue()


def _jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def _write_json(path: Path, content: Any) -> None:
    write_bytes(path, json.dumps(content).encode())
