"""One pass over the images: workers read them, a network runs, and threads write labels, all at the same time."""

import gc
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from common.errors import UserError
from common.progress import progress_bar
from dataset.images import UnreadableImage, read_image
from dataset.loader import Loader
from experts.base import Expert, RuntimeConfig, Target
from experts.dataset_images import Item, Items
from experts.finite import NotFinite, decode_one, predict_each
from experts.label_writer import LabelShards, cannot_write, packed_label, write_label
from experts.registry import ExpertJob

_WAITING_BATCHES = 4  # labels that may wait for a writer before the network has to wait


@dataclass
class Outcome:
    """The result of a pass in one process.

    Attributes:
        labelled: paths of labelled images.
        unreadable: reason by image path.
        failed: reason by path of readable images that got no label.
        not_finite: how many of these failed because the network's output was not finite.
    """

    labelled: set[str] = field(default_factory=set)
    unreadable: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    not_finite: int = 0


@dataclass
class Loaded:
    """An image as a worker sends it: the network's input, or the reason why there is none.

    The input is an array. A tensor would take an open file each, and a process has few.
    """

    index: int
    size: tuple[int, int] = (0, 0)
    input: np.ndarray | None = None
    reason: str = ""


class Images(Dataset):
    """Reads and prepares images in the workers."""

    def __init__(self, items: Items, prepare: Callable) -> None:
        self.items = items
        self.prepare = prepare

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Loaded:
        try:
            pixels = read_image(self.items[index].file)
        except UnreadableImage as error:
            return Loaded(index, reason=error.reason)
        except UserError as error:  # removed since the folder was listed, or not allowed
            return Loaded(index, reason=str(error))
        return Loaded(index, (pixels.height, pixels.width), self.prepare(pixels).numpy())


def run_pass(
    job: ExpertJob,
    items: Items,
    setting: RuntimeConfig,
    save_path: Path,
    num_workers: int,
    num_writers: int,
    show: bool,
) -> Outcome:
    """Loads a network, labels images with it, and frees it: only one network is in memory at a time.

    Raises:
        UserError: the weights are damaged, or labels cannot be written.
    """
    expert = job.module.load(job.modalities, job.options, setting)
    images = Images(items, expert.prepare)
    # Single images, so that all workers read the first batch; two batches ahead, so that the second is in time.
    ahead = max(2, 2 * job.batch_size // num_workers) if num_workers else None
    loader = Loader(images, batch_size=None, num_workers=num_workers, prefetch_factor=ahead)
    with progress_bar(total=len(items), desc=", ".join(job.modalities), unit="image", disable=not show) as bar:
        batches = _one_ahead(iter(loader), job.batch_size)
        outcome = _label_images(items, batches, expert, save_path, num_writers, bar)
    del expert, images, loader, batches
    gc.collect()
    if setting.device.type != "cpu":
        torch.accelerator.empty_cache()
    return outcome


def _one_ahead(images: Iterator[Loaded], size: int) -> Iterator[list[Loaded]]:
    """Batches of images. A thread fetches the next one from the workers while the network runs."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(lambda: list(islice(images, size)))
        while batch := coming.result():
            coming = reader.submit(lambda: list(islice(images, size)))
            yield batch


def _label_images(
    items: Items,
    batches: Iterator[list[Loaded]],
    expert: Expert,
    save_path: Path,
    num_writers: int,
    bar: tqdm,
) -> Outcome:
    outcome = Outcome()
    waiting: deque[tuple[Item, Future]] = deque()
    writers = ThreadPoolExecutor(num_writers)
    shards = LabelShards(save_path)

    def collect() -> None:
        item, future = waiting.popleft()
        path, labels = str(item.file), {}
        try:
            labels = future.result()
        except UnreadableImage as error:
            outcome.unreadable[path] = error.reason
        except UserError as error:
            outcome.failed[path] = f"{', '.join(item.task.experts)}: {error}"
            outcome.not_finite += isinstance(error, NotFinite)
            if len(outcome.failed) == 1 and not bar.disable:
                tqdm.write(f"no label for {path}: {outcome.failed[path]}", file=sys.stderr)
        else:
            outcome.labelled.add(path)
        if item.shard is not None:
            shards.add(item, labels)

    try:
        for batch in batches:
            inputs = [torch.from_numpy(loaded.input) for loaded in batch if loaded.input is not None]
            raw = iter(predict_each(expert, inputs))
            for loaded in batch:
                item = items[loaded.index]
                output = next(raw) if loaded.input is not None else None
                waiting.append((item, writers.submit(_make_labels, expert, loaded, output, item, save_path)))
            while waiting and (waiting[0][1].done() or len(waiting) > _WAITING_BATCHES * len(batch)):
                collect()
            bar.update(len(batch))
        while waiting:
            collect()
        shards.close()
        for task in items.tasks_without_images():
            shards.start(task)
            shards.close()
    except OSError as error:
        raise cannot_write(save_path, error) from None
    finally:
        writers.shutdown(cancel_futures=True)
        shards.discard()
    return outcome


def _make_labels(expert: Expert, loaded: Loaded, raw: Any, item: Item, save_path: Path) -> dict[str, bytes]:
    """Writes the labels of an image; returns them instead if they go into shards."""
    if loaded.input is None:
        raise UnreadableImage(item.file, loaded.reason)
    labels = decode_one(expert, raw, Target(loaded.size, item.label, save_path, item.folder, item.shard))
    if item.shard is not None:
        return {name: packed_label(labels[name]) for name in item.task.experts}
    for name in item.task.experts:
        write_label(save_path, name, item.label, labels[name])
    return {}
