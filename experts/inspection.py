"""The state of a data set's labels: their number, and which are missing or wrong."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from common.errors import UserError
from common.workers import parallel_map
from dataset.images import MissingImage, UnreadableImage, read_image, stored_size
from dataset.label_files import PACKED, read_picture, read_words, sidecars, words_of
from dataset.label_manifest import read_manifest
from dataset.labels import NO_CLASS, LabelReader
from dataset.location import Url
from dataset.shards.shard_folder import ShardFolder, open_folder
from dataset.shards.tar_index import key_of
from experts.dataset_images import Item, Items, Task, images_and_shards
from experts.label_writer import stored_labels
from model.modalities import BACKGROUND, Kind, modality


@dataclass
class ExpertReport:
    """An expert's labels of a data set.

    Attributes:
        made_with: the manifest in a line.
        labels: number of whole labels, with the empty ones.
        empty: labels that say "nothing here".
        flat: labels of a quantity with the same value everywhere.
        missing: images without a label.
        damaged: reason by label that cannot be used, as it is truncated or of another size than the image.
        unexpected: reason by label with a value that has no meaning.
        stray: labels without an image.
        classes: number of images in which a class is seen, by its index or name; for objects and words, the
            number of them by class or text.
    """

    made_with: str
    labels: int = 0
    empty: int = 0
    flat: int = 0
    missing: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    unexpected: dict[str, str] = field(default_factory=dict)
    stray: list[str] = field(default_factory=list)
    classes: dict[str, int] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether every image has a usable label."""
        return not (self.missing or self.damaged or self.unexpected)


@dataclass
class Inspection:
    """The labels of a data set: `images` are readable; `unreadable` holds the reason for each other one."""

    images: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    experts: dict[str, ExpertReport] = field(default_factory=dict)


class StoredLabels:
    """An expert's labels in some folders below `<label_path>/<expert>/`, as files or in shards."""

    def __init__(self, label_path: Path, expert: str, folders: Sequence[str]) -> None:
        self._folders = folders
        self._root = label_path / expert
        self._files = LabelReader(label_path, [expert])
        self._shards: dict[PurePosixPath, tuple[ShardFolder, LabelReader]] = {}  # by path below the expert's folder
        for path in sorted({tar.parent for folder in folders for tar in (self._root / folder).rglob("*.tar")}):
            below = PurePosixPath(path.relative_to(self._root).as_posix())
            reader = LabelReader(label_path, [expert])
            reader.open_folder("" if below == PurePosixPath() else str(below))
            self._shards[below] = open_folder(path), reader

    def reader(self, label: str) -> LabelReader:
        """The reader of a label: that of the nearest folder with shards around it, else that of files."""
        folders = PurePosixPath(label).parents
        return next((self._shards[folder][1] for folder in folders if folder in self._shards), self._files)

    def labels(self) -> Iterator[str]:
        """All labels, as paths below the expert's folder without suffix, but for those in damaged shards."""
        tars = {str(below / key_of(shard)) for below, (files, _) in self._shards.items() for shard in files.shards}
        for folder in self._folders:
            found = (str(PurePosixPath(folder, name)) for name in stored_labels(self._root / folder))
            yield from (label for label in found if label not in tars)
        for below, (files, _) in self._shards.items():
            for number in range(len(files.shards)):
                with suppress(UserError):
                    names = files.index(number).names
                    yield from (str(below / key_of(name)) for name in names if name.endswith((PACKED, ".png")))


@dataclass
class _Look:
    """The state of a label, which names an attribute of `ExpertReport`."""

    state: str = "labels"
    reason: str = ""
    classes: Sequence[str] = ()
    empty: bool = False
    flat: bool = False


def inspect(
    data_path: Path | Url,
    label_path: Path,
    experts: Sequence[str],
    names: Mapping[str, Sequence[str]],
    datasets: Sequence[str] = (),
    num_workers: int = 0,
) -> Inspection:
    """Reads all labels of a data set. Images and labels may be files or in shards.

    Args:
        data_path, label_path, experts: the images and their labels.
        names: class names by expert; without them, any class is valid.
        datasets: folders below `data_path`, and below each expert's folder; an empty list means all.
        num_workers: processes; 0 does it in this one.

    Raises:
        UserError: there are no images, or a shard of images cannot be read.
    """
    items = Items([Task(image, ()) for image in images_and_shards(data_path, datasets, "", leave_out=label_path)])
    result = Inspection()
    for expert in experts:
        manifest = read_manifest(label_path / expert)
        made_with = f"{manifest.backend}, {manifest.precision}" if manifest else "unknown"
        if manifest and manifest.made_elsewhere:
            made_with += f", {manifest.made_elsewhere} made elsewhere"
        result.experts[expert] = ExpertReport(made_with)
    stored = {expert: StoredLabels(label_path, expert, datasets or [""]) for expert in experts}
    known = set()
    look_at = partial(_look_at_image, items, stored, names)
    for label, path, unreadable, looks in parallel_map(look_at, range(len(items)), num_workers, chunksize=32):
        known.add(label)
        if unreadable is not None:
            result.unreadable[path] = unreadable
            continue
        result.images += 1
        for expert, look in looks.items():
            _add(result.experts[expert], label, look)
    for expert, report in result.experts.items():
        report.stray = sorted({label for label in stored[expert].labels() if label not in known})
    return result


def _add(report: ExpertReport, label: str, look: _Look) -> None:
    if look.state == "missing":
        report.missing.append(label)
    elif look.state == "labels":
        report.labels += 1
        report.empty += look.empty
        report.flat += look.flat
        for name, count in Counter(look.classes).items():
            report.classes[name] = report.classes.get(name, 0) + count
    else:
        getattr(report, look.state)[label] = look.reason


def _look_at_image(
    items: Items, stored: Mapping[str, StoredLabels], names: Mapping[str, Sequence[str]], number: int
) -> tuple[str, str, str | None, dict[str, _Look]]:
    """The path of an image's labels, its own path, why it cannot be read (or None), and its labels by expert."""
    item = items[number]
    looks: dict[str, _Look] = {}
    reason = None
    try:
        size = stored_size(item.file)
        looks = {expert: _look(expert, labels, item, size, names.get(expert)) for expert, labels in stored.items()}
        if any(look.state == "missing" for look in looks.values()):
            read_image(item.file)  # an image that cannot be read lacks no label
    except (UnreadableImage, MissingImage) as error:
        reason = error.reason
    return item.label, str(item.file), reason, looks


def _look(expert: str, stored: StoredLabels, item: Item, size: tuple[int, int], names: Sequence[str] | None) -> _Look:
    """Reads a label and its sidecar as training does."""
    entry, reader = modality(expert), stored.reader(item.label)
    try:
        path = reader.path(entry, item.label, item.shard)
        content = path.read_bytes()
        pictures, tables = reader.read(item.label, size, item.shard)
    except FileNotFoundError:
        return _Look(empty=True) if reader.may_lack(entry) else _Look("missing")
    except (OSError, UserError) as error:  # of a shard, or of the label
        return _Look("damaged", str(error))
    if not content:
        return _Look(empty=True)
    pixels = np.asarray(pictures[expert])
    if not entry.is_label_map:
        return _Look(flat=bool(pixels.min() == pixels.max()))
    values = [value for value in np.unique(pixels).tolist() if value != BACKGROUND]
    if entry.kind is Kind.WORDS:
        if path.suffix == PACKED:
            words = words_of(read_picture(entry, path)[1])
        else:
            words = read_words(next(file for file in sidecars(path, entry) if file.is_file()))
        if unknown := [value for value in values if value not in words]:
            return _Look("unexpected", f"word {unknown[0]} has no text")
        return _Look(classes=[word.text for word in words.values()], empty=not words)
    classes = values
    if entry.kind is Kind.INSTANCE:
        table = tables[expert].tolist()
        classes = [table[value] if value < len(table) else NO_CLASS for value in values]
        if NO_CLASS in classes:
            return _Look("unexpected", f"instance {values[classes.index(NO_CLASS)]} has no class")
    if names is not None and classes and max(classes) >= len(names):
        return _Look("unexpected", f"class {max(classes)}, but there are {len(names)}")
    return _Look(classes=[names[index] if names else str(index) for index in classes], empty=not values)
