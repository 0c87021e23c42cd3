"""Labels a data set: reads images, runs the experts, writes labels, all at the same time.

Finished labels are skipped, so a run can be stopped and started at any time. Processes started by
`accelerate launch` share the images. An image that cannot be read is passed over and reported. Images in
shards get their labels in shards of the same names (`experts/shards.py`).
"""

import errno
import gc
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from torch.utils.data import DataLoader
from tqdm import tqdm

from dataset.files import write_text
from dataset.places import Url, as_place
from dataset.shards.folder import ShardFolder
from dataset.shards.write import write_list
from experts.base import Expert, Setting, Target
from experts.images import images_and_shards
from experts.loading import Images, Loaded, batched, one_ahead
from experts.plan import Task, make_plan
from experts.registry import Pass, passes
from experts.shards import Item, Items, LabelShards
from experts.write import packed_label, write_label
from model.errors import UserError

T = TypeVar("T")
Precision = Literal["auto", "fp32", "bf16", "fp16"]
UNREADABLE_LOG = "unreadable_images.txt"  # below save_path
WEIGHTS = Path("experts/expert_weights")  # where download_checkpoints.py puts the released files
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_WAITING_BATCHES = 4  # labels that may wait for a writer before the network is held up


@dataclass
class Report:
    """What a run did, over all processes.

    Attributes:
        images: images found.
        labelled: images that were given labels.
        unreadable: reason by image path.
        notes: what the user should know, a line each.
    """

    images: int
    labelled: int
    unreadable: dict[str, str]
    notes: list[str] = field(default_factory=list)

    @property
    def finished_before(self) -> int:
        """Images that had all their labels already."""
        return self.images - self.labelled - len(self.unreadable)


def generate_labels(
    data_path: Path | Url | str,
    save_path: Path | str,
    backends: Mapping[str, str | Mapping[str, Any]],
    *,
    datasets: Sequence[str] = (),
    prefix: str = "",
    weights: Path | str = WEIGHTS,
    precision: Precision = "auto",
    batch_size: int = 16,
    num_workers: int = 2,
    num_writers: int = 4,
    overwrite: bool = False,
) -> Report:
    """Writes the labels of all images below a folder.

    Args:
        data_path: the images; `<data_path>/<name>.jpg` gets `<save_path>/<expert>/<prefix>/<name>.png`.
            Those in `<data_path>/<dataset>/<shard>.tar`, or at such an address, get
            `<save_path>/<expert>/<prefix>/<dataset>/<shard>.tar`.
        save_path: the label folder.
        backends: for each expert to run, its network, as `experts.registry.passes` reads it.
        datasets: folders below `data_path` to label; none means all.
        prefix: put before the labels' paths.
        weights: folder of the released weight files.
        precision: of the networks; `auto` is bf16 on a GPU that has it, else fp32.
        batch_size: images a network sees at once, per process.
        num_workers: processes that read images, per process; 0 reads them in this one.
        num_writers: threads that write labels, per process.
        overwrite: make labels that are there already again.

    Raises:
        UserError: no such folder, expert, backend or option; no images; two images with one label; weights
            that are missing; labels of other settings; a folder that cannot be written to. All but the
            last before any network is loaded.
    """
    data_path, save_path, weights = as_place(data_path), Path(save_path), Path(weights)
    state = PartialState(cpu=not torch.accelerator.is_available())
    precision = _resolved(precision, state.device)
    work = passes(backends, batch_size)
    found, packed = _from_main(
        state, lambda: images_and_shards(data_path, datasets, prefix, leave_out=save_path), save_path
    )
    plan = _from_main(
        state,
        lambda: make_plan(
            found,
            work,
            save_path,
            weights=weights,
            precision=precision,
            device=state.device.type,
            overwrite=overwrite,
        ),
        save_path,
    )
    setting = Setting(state.device, weights, _DTYPES[precision])
    labelled: set[str] = set()
    unreadable: dict[str, str] = {}
    for each, tasks in zip(work, plan.tasks, strict=True):
        mine = [
            task
            for task in tasks[state.process_index :: state.num_processes]
            if task.image.path not in unreadable
        ]
        if mine:
            items = Items(mine, packed)
            failed = _run_pass(
                each, items, setting, save_path, num_workers, num_writers, state.is_main_process
            )
            unreadable |= failed
            labelled |= {item.label for item in items if str(item.file) not in failed}
        state.wait_for_everyone()  # a later expert may read the labels of an earlier one
    if packed:
        experts = [expert for each in work for expert in each.modalities]
        _from_main(state, lambda: _write_lists(save_path, experts, packed), save_path)
    # An image may be one process's in this pass, and another's in the next.
    images = len(Items([Task(image, ()) for image in found], packed))
    report = Report(images, len(set(gather_object(list(labelled)))), {}, plan.notes)
    for path, reason in sorted(gather_object(list(unreadable.items()))):
        report.unreadable[path] = reason
    _from_main(state, lambda: _write_log(save_path / UNREADABLE_LOG, report.unreadable), save_path)
    return report


def find_setting(weights: Path | str, precision: Precision) -> Setting:
    """Where and how this process runs networks.

    Raises:
        UserError: the device has no such precision.
    """
    device = PartialState(cpu=not torch.accelerator.is_available()).device
    return Setting(device, Path(weights), _DTYPES[_resolved(precision, device)])


def _resolved(precision: Precision, device: torch.device) -> str:
    """Which precision `auto` is, and whether the device has the one that is asked for."""
    if device.type == "cpu":
        if precision not in ("auto", "fp32"):
            raise UserError(f"precision {precision} is for GPUs; set precision to auto or fp32")
        return "fp32"
    if precision == "auto":
        return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"
    return precision


def _from_main(state: PartialState, make: Callable[[], T], save_path: Path) -> T:
    """What the main process makes, for all of them; a mistake that it finds stops all of them."""
    made, error = None, None
    if state.is_main_process:
        try:
            made = make()
        except UserError as mistake:
            error = str(mistake)
        except OSError as mistake:
            error = str(_unwritable(save_path, mistake))
    made, error = broadcast_object_list([made, error])
    if error is not None:
        raise UserError(error)
    return made


def _run_pass(
    work: Pass,
    items: Items,
    setting: Setting,
    save_path: Path,
    num_workers: int,
    num_writers: int,
    show: bool,
) -> dict[str, str]:
    """Loads a network and labels with it; returns the images that could not be read, with the reason.

    The network is let go of at the end, so that there is never more than one in memory.
    """
    expert = work.module.load(work.modalities, work.options, setting)
    # One by one, so that all workers read the first batch; so far ahead, that the second is there in time.
    ahead = max(2, 2 * work.batch_size // num_workers) if num_workers else None
    images = Images(items, expert.prepare)
    loader = DataLoader(images, batch_size=None, num_workers=num_workers, prefetch_factor=ahead)
    with tqdm(total=len(items), desc=", ".join(work.modalities), unit="image", disable=not show) as bar:
        batches = one_ahead(batched(iter(loader), work.batch_size))
        unreadable = _label_images(items, batches, expert, save_path, num_writers, bar)
    del expert, images, loader, batches
    gc.collect()
    if setting.device.type != "cpu":
        torch.accelerator.empty_cache()
    return unreadable


def _label_images(
    items: Items,
    batches: Iterator[list[Loaded]],
    expert: Expert,
    save_path: Path,
    num_writers: int,
    bar: tqdm,
) -> dict[str, str]:
    """Labels what was loaded; returns the images that could not be read, with the reason."""
    unreadable: dict[str, str] = {}
    waiting: deque[tuple[Item, Future]] = deque()
    writers = ThreadPoolExecutor(num_writers)
    shards = LabelShards(save_path)

    def collect() -> None:
        item, future = waiting.popleft()
        labels = future.result()
        if item.shard is not None:
            shards.add(item, labels)

    try:
        for batch in batches:
            there = [loaded for loaded in batch if loaded.input is not None]
            raw = iter(expert.predict([torch.from_numpy(loaded.input) for loaded in there]) if there else ())
            for loaded in batch:
                item = items[loaded.index]
                if loaded.input is None:
                    unreadable[str(item.file)] = loaded.reason
                    waiting.append((item, writers.submit(dict)))
                else:
                    job = (expert, next(raw), item, loaded.size, save_path)
                    waiting.append((item, writers.submit(_make_labels, *job)))
            while waiting and (waiting[0][1].done() or len(waiting) > _WAITING_BATCHES * len(batch)):
                collect()
            bar.update(len(batch))
        while waiting:
            collect()
        shards.close()
        for task in items.without_images():
            shards.open(task)
            shards.close()
    except OSError as error:
        raise _unwritable(save_path, error) from None
    finally:
        writers.shutdown(cancel_futures=True)
        shards.discard()
    return unreadable


def _make_labels(
    expert: Expert, raw: Any, item: Item, size: tuple[int, int], save_path: Path
) -> dict[str, bytes]:
    """The labels of an image, written; those of one in a shard are returned, to be put into one."""
    labels = expert.decode(raw, Target(size, item.label, save_path, item.folder, item.shard))
    if item.shard is not None:
        return {name: packed_label(labels[name]) for name in item.task.experts}
    for name in item.task.experts:
        write_label(save_path, name, item.label, labels[name])
    return {}


def _write_lists(save_path: Path, experts: list[str], packed: dict[str, ShardFolder]) -> None:
    """Lists the shards of labels, for a web server."""
    for expert in experts:
        for folder in packed:
            write_list(save_path / expert / folder)


def _unwritable(save_path: Path, error: OSError) -> UserError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "free some space and start again, finished labels are kept" if full else "check save_path"
    return UserError(f"cannot write labels below {save_path}: {error.strerror}; {remedy}")


def _write_log(path: Path, unreadable: dict[str, str]) -> None:
    """One line per unreadable image: its path, a tab, the reason; no file if there is none."""
    if unreadable:
        write_text(path, "".join(f"{name}\t{reason}\n" for name, reason in unreadable.items()))
    else:
        path.unlink(missing_ok=True)
