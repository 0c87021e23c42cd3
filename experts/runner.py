"""Labels a data set: reads images, runs the experts, writes labels, all at the same time.

Finished labels are skipped, so a run can be stopped and started at any time. Processes started by
`accelerate launch` share the images. An image that cannot be read is passed over and reported.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from dataset.files import write_text
from dataset.images import UnreadableImage, read_image
from experts.base import Expert, Setting, Target
from experts.images import ImageFile, images_to_label
from experts.registry import backend, passes
from experts.write import is_finished, write_label
from model.errors import UserError

UNREADABLE_LOG = "unreadable_images.txt"  # below save_path
WEIGHTS = Path("experts/expert_weights")  # where download_checkpoints.py puts the released files
_WRITERS = 2
_WAITING_BATCHES = 4  # labels that may wait for a writer before the network is held up


@dataclass
class Report:
    """What a run did, over all processes.

    Attributes:
        images: images found.
        labelled: images that were given labels.
        unreadable: reason by image path.
    """

    images: int = 0
    labelled: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def finished_before(self) -> int:
        """Images that had all their labels already."""
        return self.images - self.labelled - len(self.unreadable)


def generate_labels(
    data_path: Path | str,
    save_path: Path | str,
    backends: Mapping[str, str],
    *,
    datasets: Sequence[str] = (),
    prefix: str = "",
    batch_size: int = 16,
    num_workers: int = 2,
    overwrite: bool = False,
) -> Report:
    """Writes the labels of all images below a folder.

    Args:
        data_path: the images; `<data_path>/<name>.jpg` gets `<save_path>/<expert>/<prefix>/<name>.png`.
        save_path: the label folder.
        backends: for each expert to run, the name of its network.
        datasets: folders below `data_path` to label; none means all.
        prefix: put before the labels' paths.
        batch_size: images the network sees at once, per process.
        num_workers: processes that read images, per process; 0 reads them in this one.
        overwrite: make labels that are there already again.

    Raises:
        UserError: no such folder, expert or backend; no images; two images with one label.
    """
    save_path = Path(save_path)
    work = passes(backends)
    images = images_to_label(Path(data_path), datasets, prefix, leave_out=save_path)
    state = PartialState(cpu=not torch.accelerator.is_available())
    labelled: set[str] = set()
    unreadable: dict[str, str] = {}
    for module, experts in work:
        mine = images[state.process_index :: state.num_processes]
        if not overwrite:
            mine = [image for image in mine if not is_finished(save_path, experts, image.label)]
        if mine:
            network = backend(module)
            expert = network.load(experts, network.Options(), Setting(state.device, WEIGHTS))
            title = ", ".join(experts) if len(work) > 1 else "labels"
            loader = DataLoader(
                _Images(mine, expert.prepare), batch_size, num_workers=num_workers, collate_fn=list
            )
            bar = tqdm(total=len(mine), desc=title, unit="image", disable=not state.is_main_process)
            with bar:
                failed = _label_images(loader, expert, save_path, bar)
            unreadable |= failed
            labelled |= {image.label for image in mine if str(image.path) not in failed}
        state.wait_for_everyone()  # a later expert may read the labels of an earlier one
    report = Report(len(images), sum(gather_object([len(labelled)])))
    for path, reason in sorted(gather_object(list(unreadable.items()))):
        report.unreadable[path] = reason
    if state.is_main_process:
        _write_log(save_path / UNREADABLE_LOG, report.unreadable)
    return report


@dataclass
class _Loaded:
    """An image as it leaves a loader's process: the network's input, or why there is none."""

    image: ImageFile
    size: tuple[int, int] = (0, 0)
    input: Tensor | None = None
    reason: str = ""


class _Images(Dataset):
    def __init__(self, images: list[ImageFile], prepare: Any) -> None:
        self.images = images
        self.prepare = prepare

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> _Loaded:
        image = self.images[index]
        try:
            pixels = read_image(image.path)
        except UnreadableImage as error:
            return _Loaded(image, reason=error.reason)
        return _Loaded(image, (pixels.height, pixels.width), self.prepare(pixels))


def _label_images(loader: DataLoader, expert: Expert, save_path: Path, bar: tqdm) -> dict[str, str]:
    """Labels what the loader yields; returns the images that could not be read, with the reason."""
    unreadable: dict[str, str] = {}
    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(_WRITERS) as writers:
        for batch in loader:
            unreadable |= {str(item.image.path): item.reason for item in batch if item.input is None}
            items = [item for item in batch if item.input is not None]
            raw = expert.predict([item.input for item in items]) if items else []
            for item, output in zip(items, raw, strict=True):
                waiting.append(writers.submit(_write_labels, expert, output, item, save_path))
            while len(waiting) > _WAITING_BATCHES * (loader.batch_size or 1):
                waiting.popleft().result()
            bar.update(len(batch))
        for future in waiting:
            future.result()
    return unreadable


def _write_labels(expert: Expert, raw: Any, item: _Loaded, save_path: Path) -> None:
    labels = expert.decode(raw, Target(item.size, item.image.label, save_path))
    try:
        for name, label in labels.items():
            write_label(save_path, name, item.image.label, label)
    except OSError as error:
        raise UserError(f"cannot write labels below {save_path}: {error.strerror}") from None


def _write_log(path: Path, unreadable: dict[str, str]) -> None:
    """One line per unreadable image: its path, a tab, the reason; no file if there is none."""
    if unreadable:
        write_text(path, "".join(f"{name}\t{reason}\n" for name, reason in unreadable.items()))
    else:
        path.unlink(missing_ok=True)
