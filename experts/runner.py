"""Labels a data set.

Finished labels are skipped, so a run may be stopped and started at any time. The processes of
`accelerate launch` share the images. Images that cannot be read or labelled are skipped and reported; the next
run tries them again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from common.errors import UserError
from common.files import write_text
from common.overwrite import Outputs
from common.pickles import FETCH
from dataset.location import Url, as_location
from dataset.shards.writer import check_list, write_list
from experts.base import DTYPES, RuntimeConfig
from experts.dataset_images import Items, Task, images_and_shards
from experts.label_plan import Plan, make_plan
from experts.label_writer import cannot_write, remove_if_empty
from experts.labelling import Outcome, run_pass
from experts.registry import WEIGHTS, ExpertJob, passes

T = TypeVar("T")
Precision = Literal["auto", "fp32", "bf16", "fp16"]
UNREADABLE_LOG = "unreadable_images.txt"  # below save_path


@dataclass
class Report:
    """The result of a run over all processes.

    Attributes:
        images: number of images found.
        labelled: number of images that got all labels that they lacked.
        unreadable: reason by image path.
        failed: reason by path of readable images that lack the label of some expert.
        notes: lines to tell the user.
    """

    images: int = 0
    labelled: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def finished_before(self) -> int:
        """Images that had all labels already."""
        return self.images - self.labelled - len(self.skipped)

    @property
    def skipped(self) -> dict[str, str]:
        """Reason by path of all images that lack a label now."""
        return self.failed | self.unreadable


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

    `<data_path>/<name>.jpg` gets `<save_path>/<expert>/<prefix>/<name>.png`. Images in
    `<data_path>/<dataset>/<shard>.tar`, or at such an address, get
    `<save_path>/<expert>/<prefix>/<dataset>/<shard>.tar`.

    Args:
        data_path: the folder of images, or the address of shards.
        save_path: the label folder.
        backends: the network of each expert, as `experts.registry.Backends`.
        datasets: folders below `data_path` to label; an empty list means all.
        prefix: put before the paths of labels.
        weights: folder of the released weight files.
        precision: `auto` is bf16 on a GPU that supports it, else fp32.
        batch_size, num_workers, num_writers: per process of a launch. Workers are processes that read images,
            writers are threads; 0 workers read images in this process.
        overwrite: make existing labels again.

    Raises:
        UserError: an unknown folder, expert, backend or option; no images; two images with one label; missing
            weights; labels of other settings. Then no network was loaded. Or a label cannot be written.
    """
    data_path, save_path = as_location(data_path), Path(save_path)
    setting = find_setting(weights, precision)
    state, jobs = PartialState(), passes(backends, batch_size)

    def prepare() -> tuple[Plan, int, list[str]]:
        images = images_and_shards(data_path, datasets, prefix, leave_out=save_path)
        shard_folders = list(dict.fromkeys(image.folder for image in images if image.shards))
        _check_places(
            [data_path / dataset for dataset in datasets or [""]], save_path, experts, shard_folders, outputs
        )
        plan = make_plan(images, jobs, save_path, setting, overwrite)
        return plan, len(Items([Task(image, ()) for image in images])), shard_folders

    experts = [expert for job in jobs for expert in job.modalities]
    outputs = Outputs("experts/generate.py", overwrite, "choose another label folder")
    outcomes: list[Outcome] = []
    plan, images, shard_folders = _from_main(prepare, save_path)
    try:
        for job, tasks in zip(jobs, plan.tasks, strict=True):
            unreadable = {path for outcome in outcomes for path in outcome.unreadable}
            mine = tasks[state.process_index :: state.num_processes]
            items = Items([task for task in mine if task.image.path not in unreadable])
            outcome = Outcome()
            if items.tasks:
                outcome = run_pass(job, items, setting, save_path, num_workers, num_writers, state.is_main_process)
            outcomes.append(outcome)
            state.wait_for_everyone()  # a later expert may read the labels of an earlier one
        _from_main(lambda: _write_lists(save_path, experts, shard_folders, overwrite), save_path)
    finally:
        if state.is_main_process:
            for expert in experts:
                remove_if_empty(save_path / expert)
    report = _combine(outcomes, jobs, setting.precision)
    report.images = images
    report.notes += plan.notes
    _from_main(lambda: _write_log(save_path / UNREADABLE_LOG, report.skipped), save_path)
    return report


def find_setting(weights: Path | str, precision: Precision) -> RuntimeConfig:
    """The device and precision of networks in this process.

    Raises:
        UserError: the device does not support the precision.
    """
    device = PartialState(cpu=not torch.accelerator.is_available()).device
    if device.type == "cpu" and precision not in ("auto", "fp32"):
        raise UserError(f"precision {precision} is for GPUs; set precision to auto or fp32")
    if precision == "auto":
        has_bf16 = device.type != "cpu" and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        precision = "bf16" if has_bf16 else "fp32"
    return RuntimeConfig(device, Path(weights), DTYPES[precision])


def _from_main(make: Callable[[], T], save_path: Path) -> T:
    """The result of the main process, for all processes; its error stops all of them."""
    made, error = None, None
    if PartialState().is_main_process:
        try:
            made = make()
        except UserError as mistake:
            error = str(mistake)
        except OSError as mistake:
            error = str(cannot_write(save_path, mistake))
    made, error = broadcast_object_list([made, error])
    if error is not None:
        raise UserError(error)
    return made


def _check_places(
    data: Sequence[Path | Url], save_path: Path, experts: Sequence[str], shard_folders: Sequence[str], outputs: Outputs
) -> None:
    """Refuses to replace images, and other programs' files in place of the log and the lists of shards."""
    log = save_path / UNREADABLE_LOG
    outputs.check([log], known=lambda path: all("\t" in x for x in path.read_text(errors="replace").splitlines()))
    for expert in experts:
        labels = (save_path / expert).resolve()
        for folder in data:
            if isinstance(folder, Path) and folder.resolve().is_relative_to(labels):
                raise UserError(f"{folder}: images lie where labels go; choose another label folder")
        for folder in shard_folders:
            check_list(save_path / expert / folder, outputs.overwrite)


def _write_lists(save_path: Path, experts: Sequence[str], shard_folders: Sequence[str], overwrite: bool) -> None:
    """Lists the shards of labels, for a web server."""
    for expert in experts:
        for folder in shard_folders:
            write_list(save_path / expert / folder, overwrite=overwrite)


def _write_log(path: Path, skipped: Mapping[str, str]) -> None:
    """Writes a line of path, tab and reason for each skipped image; removes the log if there is none."""
    if skipped:
        write_text(path, "".join(f"{name}\t{reason}\n" for name, reason in skipped.items()))
    else:
        path.unlink(missing_ok=True)


def _combine(outcomes: Sequence[Outcome], jobs: Sequence[ExpertJob], precision: str) -> Report:
    """The report of a run but for the number of images; every process must call it."""
    # Different processes may have labelled an image in different passes.
    everyone: list[list[Outcome]] = gather_object([list(outcomes)])
    labelled: set[str] = set()
    report = Report()
    for job, of_pass in zip(jobs, zip(*everyone, strict=True), strict=True):
        for outcome in of_pass:
            labelled |= outcome.labelled
            report.unreadable |= outcome.unreadable
            for path, reason in outcome.failed.items():
                before = report.failed.get(path)
                report.failed[path] = f"{before}; {reason}" if before else reason
        lost = sum(outcome.not_finite for outcome in of_pass)
        if lost and not any(outcome.labelled for outcome in of_pass):
            remedy = f"{precision} may be too small for its numbers on this device: set precision to fp32"
            if precision == "fp32":
                remedy = f"its weights may be damaged: fetch them again with {FETCH}"
            network = f"{' and '.join(job.modalities)} ({job.backend})"
            report.notes.append(f"{network}: the network's output was not finite for any image ({lost}); {remedy}")
    report.unreadable = dict(sorted(report.unreadable.items()))
    report.failed = dict(sorted(report.failed.items()))
    report.labelled = len(labelled - report.skipped.keys())
    return report
