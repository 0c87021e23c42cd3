"""Scenes with one solid each, in ImageNet's layout: 32 classes, "red sphere" to "black cone"."""

import json
from functools import partial

import numpy as np

from nano.scenes.dataset_files import Options, claimed, run_jobs, write_files, write_lists
from nano.scenes.vocabulary import COLOURS, SHAPES
from nano.scenes.world import sample_world

FOLDERS = ("imagenet_train", "imagenet")  # to learn from, to test on
CLASSES = [(shape, colour) for colour in COLOURS for shape in SHAPES]


def write_classes(options: Options, train: int, test: int, workers: int) -> None:
    """Writes `train` and `test` images of each class, and the two lists of classes.

    Raises:
        UserError: the folder holds scenes of another seed or size or other lists, or cannot be written.
    """
    names = [f"{colour} {shape}" for shape, colour in CLASSES]
    lists = {
        f"{FOLDERS[1]}/imagenet_answer.json": names,
        f"{FOLDERS[1]}/imagenet_class.json": {name.replace(" ", "_"): number for number, name in enumerate(names)},
    }
    contents = {options.out / name: json.dumps(content) for name, content in lists.items()}
    with claimed(options, lists, lambda path: path.read_text(errors="replace") == contents[path]):
        jobs = [
            (split, number, index)
            for split, count in enumerate((train, test))
            for number in range(len(CLASSES))
            for index in range(count)
        ]
        run_jobs(partial(write_image, options), jobs, workers)
        write_lists(options, lists)


def write_image(options: Options, job: tuple[int, int, int]) -> None:
    """Writes the image and the labels of one scene: split, class and index fix it."""
    split, number, index = job
    shape, colour = CLASSES[number]
    rng = np.random.default_rng([options.seed, 2 + split, number, index])
    world = sample_world(rng, options.long_side, only=(shape, colour))
    write_files(options, world, f"{FOLDERS[split]}/{colour}_{shape}/{index:05d}", ".JPEG")
