"""Labels a data set: reads images, runs the experts, writes labels, all at the same time.

Finished labels are skipped, so a run can be stopped and started at any time. Processes started by
`accelerate launch` share the images. An image that cannot be read or labelled is passed over and reported;
the next run tries it again. Images in shards get their labels in shards of the same names
(`experts/shard_labelling.py`).
"""

import errno
import gc
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from tqdm import tqdm

from common.errors import UserError
from common.files import write_text
from common.overwrite import Outputs
from common.progress import progress_bar
from dataset.images import UnreadableImage
from dataset.loader import Loader
from dataset.location import Url, as_place
from dataset.shards.shard_folder import ShardFolder
from dataset.shards.writer import check_list, write_list
from experts.base import Expert, RuntimeConfig, Target
from experts.dataset_images import images_and_shards
from experts.finite import NotFinite, decode_one, predict_each
from experts.image_loading import Images, Loaded, batched, one_ahead
from experts.label_plan import Task, make_plan
from experts.label_writer import packed_label, remove_if_empty, write_label
from experts.registry import ExpertJob, passes
from experts.run_report import Outcome, Report, combine
from experts.shard_labelling import Item, Items, LabelShards

T = TypeVar("T")
Precision = Literal["auto", "fp32", "bf16", "fp16"]
UNREADABLE_LOG = "unreadable_images.txt"  # below save_path
WEIGHTS = Path("experts/expert_weights")  # where download_checkpoints.py puts the released files
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_WAITING_BATCHES = 4  # labels that may wait for a writer before the network is held up


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
    folders = [data_path / dataset for dataset in datasets or [""]]
    _from_main(state, lambda: _check_files(folders, save_path, work, packed, overwrite), save_path)
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
            packed=packed,
        ),
        save_path,
    )
    experts = [expert for each in work for expert in each.modalities]
    setting = RuntimeConfig(state.device, weights, _DTYPES[precision])
    outcomes: list[Outcome] = []  # of the passes
    try:
        for each, tasks in zip(work, plan.tasks, strict=True):
            known = {path for outcome in outcomes for path in outcome.unreadable}
            mine = tasks[state.process_index :: state.num_processes]
            items = Items([task for task in mine if task.image.path not in known], packed)
            outcomes.append(
                _run_pass(each, items, setting, save_path, num_workers, num_writers, state.is_main_process)
                if items.tasks
                else Outcome()
            )
            state.wait_for_everyone()  # a later expert may read the labels of an earlier one
        if packed:
            _from_main(state, lambda: _write_lists(save_path, experts, packed, overwrite), save_path)
    finally:
        if state.is_main_process:
            for expert in experts:
                remove_if_empty(save_path / expert)
    report = combine(outcomes, work, precision)
    report.images = len(Items([Task(image, ()) for image in found], packed))
    report.notes += plan.notes
    _from_main(state, lambda: _write_log(save_path / UNREADABLE_LOG, report.skipped), save_path)
    return report


def find_setting(weights: Path | str, precision: Precision) -> RuntimeConfig:
    """Where and how this process runs networks.

    Raises:
        UserError: the device has no such precision.
    """
    device = PartialState(cpu=not torch.accelerator.is_available()).device
    return RuntimeConfig(device, Path(weights), _DTYPES[_resolved(precision, device)])


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
    work: ExpertJob,
    items: Items,
    setting: RuntimeConfig,
    save_path: Path,
    num_workers: int,
    num_writers: int,
    show: bool,
) -> Outcome:
    """Loads a network and labels with it.

    The network is let go of at the end, so that there is never more than one in memory.
    """
    expert = work.module.load(work.modalities, work.options, setting)
    # One by one, so that all workers read the first batch; so far ahead, that the second is there in time.
    ahead = max(2, 2 * work.batch_size // num_workers) if num_workers else None
    images = Images(items, expert.prepare)
    loader = Loader(images, batch_size=None, num_workers=num_workers, prefetch_factor=ahead)
    with progress_bar(total=len(items), desc=", ".join(work.modalities), unit="image", disable=not show) as bar:
        batches = one_ahead(batched(iter(loader), work.batch_size))
        outcome = _label_images(items, batches, expert, save_path, num_writers, bar)
    del expert, images, loader, batches
    gc.collect()
    if setting.device.type != "cpu":
        torch.accelerator.empty_cache()
    return outcome


def _label_images(
    items: Items,
    batches: Iterator[list[Loaded]],
    expert: Expert,
    save_path: Path,
    num_writers: int,
    bar: tqdm,
) -> Outcome:
    """Labels what was loaded."""
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
            there = [loaded for loaded in batch if loaded.input is not None]
            raw = iter(predict_each(expert, [torch.from_numpy(loaded.input) for loaded in there]))
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
        for task in items.without_images():
            shards.open(task)
            shards.close()
    except OSError as error:
        raise _unwritable(save_path, error) from None
    finally:
        writers.shutdown(cancel_futures=True)
        shards.discard()
    return outcome


def _make_labels(expert: Expert, loaded: Loaded, raw: Any, item: Item, save_path: Path) -> dict[str, bytes]:
    """The labels of an image, written; those of one in a shard are returned, to be put into one.

    Raises:
        UnreadableImage: it could not be read.
        UserError: it gets no label.
    """
    if loaded.input is None:
        raise UnreadableImage(item.file, loaded.reason)
    labels = decode_one(expert, raw, Target(loaded.size, item.label, save_path, item.folder, item.shard))
    if item.shard is not None:
        return {name: packed_label(labels[name]) for name in item.task.experts}
    for name in item.task.experts:
        write_label(save_path, name, item.label, labels[name])
    return {}


def _check_files(
    folders: Sequence[Path | Url],
    save_path: Path,
    work: Sequence[ExpertJob],
    packed: dict[str, ShardFolder],
    overwrite: bool,
) -> None:
    """Refuses to replace what is no label, log or list of shards: images above all.

    Args:
        folders: of images, or of shards of them.
        save_path: the label folder.
        work: the experts.
        packed: the shards of each data set, by their labels' folder.
        overwrite: labels may be replaced; images may not.
    """
    outputs = Outputs("experts/generate.py", overwrite, "choose another save_path")
    outputs.check([save_path / UNREADABLE_LOG], known=_is_log)
    for each in work:
        for expert in each.modalities:
            labels = (save_path / expert).resolve()
            for folder in folders:
                if isinstance(folder, Path) and folder.resolve().is_relative_to(labels):
                    raise UserError(f"{folder}: images lie where labels go; choose another save_path")
            for folder in packed:
                check_list(save_path / expert / folder, overwrite)


def _write_lists(save_path: Path, experts: list[str], packed: dict[str, ShardFolder], overwrite: bool) -> None:
    """Lists the shards of labels, for a web server."""
    for expert in experts:
        for folder in packed:
            write_list(save_path / expert / folder, overwrite=overwrite)


def _is_log(path: Path) -> bool:
    return all("\t" in line for line in path.read_text(errors="replace").splitlines())


def _unwritable(save_path: Path, error: OSError) -> UserError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "free some space and start again, finished labels are kept" if full else "check save_path"
    return UserError(f"cannot write labels below {save_path}: {error.strerror}; {remedy}")


def _write_log(path: Path, skipped: dict[str, str]) -> None:
    """One line per image that was skipped: its path, a tab, the reason; no file if there is none."""
    if skipped:
        write_text(path, "".join(f"{name}\t{reason}\n" for name, reason in skipped.items()))
    else:
        path.unlink(missing_ok=True)
