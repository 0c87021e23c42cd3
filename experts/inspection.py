"""What there is of a data set's labels, and what is wrong with them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import UserError
from common.workers import parallel_map
from dataset.images import MissingImage, UnreadableImage, read_image, stored_size
from dataset.label_files import PACKED, Word, read_picture, read_words, sidecars, words_of
from dataset.label_manifest import read_manifest
from dataset.labels import NO_CLASS
from dataset.shards.shard_folder import ShardFile
from experts.dataset_images import images_and_shards
from experts.label_plan import Task
from experts.shard_labelling import Item, Items
from experts.stored_labels import StoredLabels
from model.modalities import BACKGROUND, Kind, Modality, modality


@dataclass
class ExpertReport:
    """An expert's labels of a data set.

    Attributes:
        made_with: what the manifest says, in a line.
        labels: whole labels, empty ones included.
        empty: labels that say "nothing here".
        flat: labels of a quantity that is the same everywhere.
        missing: images without a label.
        damaged: reason by label, where it cannot be used: truncated, of another size than the image.
        unexpected: reason by label, where a value has no meaning.
        stray: labels without an image.
        classes: how many images a class is seen in, by its index or name; for objects and words, how many
            there are of each class or text.
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
        """Whether every image has a label that can be used."""
        return not (self.missing or self.damaged or self.unexpected)


@dataclass
class Inspection:
    """All experts' labels of a data set.

    Attributes:
        images: images that can be read.
        unreadable: reason by image; they cannot have labels.
        experts: by name.
    """

    images: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    experts: dict[str, ExpertReport] = field(default_factory=dict)


@dataclass
class _Look:
    """What one label was found to be: `state` names an attribute of `ExpertReport`."""

    state: str
    reason: str = ""
    classes: Counter[str] = field(default_factory=Counter)
    empty: bool = False
    flat: bool = False


class _Looks(NamedTuple):
    """What was found of an image.

    Attributes:
        label: its labels' path.
        path: the image.
        unreadable: why it cannot be read, if it cannot.
        found: looks by expert.
    """

    label: str
    path: str
    unreadable: str | None
    found: dict[str, _Look]


@dataclass(frozen=True)
class _Looker:
    """Looks at the labels of images.

    Attributes:
        items: the images.
        stored: labels by expert.
        names: class names by expert; without them any class is taken for good.
    """

    items: Items
    stored: Mapping[str, StoredLabels]
    names: Mapping[str, Sequence[str]]

    def __call__(self, number: int) -> _Looks:
        """Looks at those of an image."""
        item = self.items[number]
        looks: dict[str, _Look] = {}
        reason = None
        try:
            size = stored_size(item.file)
            looks = {expert: self.look(expert, item, size) for expert in self.stored}
            if any(look.state == "missing" for look in looks.values()):
                read_image(item.file)  # whether there could be a label
        except (UnreadableImage, MissingImage) as error:
            reason = error.reason
        return _Looks(item.label, str(item.file), reason, looks)

    def look(self, expert: str, item: Item, size: tuple[int, int]) -> _Look:
        """Reads a label and what is beside it, as training does."""
        entry, reader = modality(expert), self.stored[expert].reader(item.label)
        try:
            path = reader.path(entry, item.label, item.shard)
            content = path.read_bytes()
            pictures, tables = reader.read(item.label, size, item.shard)
        except FileNotFoundError:
            return _Look("labels", empty=True) if reader.may_lack(entry) else _Look("missing")
        except (OSError, UserError) as error:  # a shard, or a label
            return _Look("damaged", str(error))
        if not content:
            return _Look("labels", empty=True)
        pixels = np.asarray(pictures[expert])
        if not entry.is_label_map:
            return _Look("labels", flat=bool(pixels.min() == pixels.max()))
        values = [int(value) for value in np.flatnonzero(np.bincount(pixels.ravel(), minlength=256))]
        values = [value for value in values if value != BACKGROUND]
        if entry.kind is Kind.SEMANTIC:
            return self._of_classes(expert, values, empty=not values)
        if entry.kind is Kind.INSTANCE:
            table = tables[expert].tolist()
            classes = [table[value] if value < len(table) else NO_CLASS for value in values]
            if NO_CLASS in classes:
                return _Look("unexpected", f"instance {values[classes.index(NO_CLASS)]} has no class")
            return self._of_classes(expert, classes, empty=not values)
        return _of_words(_words(entry, path), values)

    def _of_classes(self, expert: str, indices: list[int], empty: bool) -> _Look:
        names = self.names.get(expert)
        if names is not None and indices and max(indices) >= len(names):
            return _Look("unexpected", f"class {max(indices)}, but there are {len(names)}")
        return _Look("labels", classes=Counter(names[i] if names else str(i) for i in indices), empty=empty)


def _words(entry: Modality, path: Path | ShardFile) -> dict[int, Word]:
    """The words of a label that the labels' reader has read."""
    if path.suffix == PACKED:
        return words_of(read_picture(entry, path)[1])
    return read_words(next(file for file in sidecars(path, entry) if file.is_file()))


def _of_words(words: Mapping[int, Word], values: list[int]) -> _Look:
    for value in values:
        if value not in words:
            return _Look("unexpected", f"word {value} has no text")
    return _Look("labels", classes=Counter(word.text for word in words.values()), empty=not words)


def inspect(
    data_path: Path,
    label_path: Path,
    experts: Sequence[str],
    names: Mapping[str, Sequence[str]],
    datasets: Sequence[str] = (),
    num_workers: int = 0,
) -> Inspection:
    """Looks at all labels of a data set; images and labels may be files or in shards.

    Args:
        data_path: the images.
        label_path: the label folder.
        experts: whose labels.
        names: class names by expert, of those whose names are known.
        datasets: folders below `data_path`, and below each expert's folder; none means all.
        num_workers: processes; 0 does it in this one.

    Raises:
        UserError: there are no images, or a shard of images cannot be read.
    """
    found, packed = images_and_shards(data_path, datasets, "", leave_out=label_path)
    items = Items([Task(image, ()) for image in found], packed)
    manifests = {expert: read_manifest(label_path / expert) for expert in experts}
    result = Inspection()
    for expert, manifest in manifests.items():
        made_with = f"{manifest.backend}, {manifest.precision}" if manifest else "unknown"
        if manifest and manifest.made_elsewhere:
            made_with += f", {manifest.made_elsewhere} made elsewhere"
        result.experts[expert] = ExpertReport(made_with)
    stored = {expert: StoredLabels(label_path, expert, datasets or [""]) for expert in experts}
    known = set()
    looker = _Looker(items, stored, names)
    for image in parallel_map(looker, range(len(items)), num_workers, chunksize=32):
        known.add(image.label)
        if image.unreadable is not None:
            result.unreadable[image.path] = image.unreadable
            continue
        result.images += 1
        for expert, look in image.found.items():
            _add(result.experts[expert], image.label, look)
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
        for name, number in look.classes.items():
            report.classes[name] = report.classes.get(name, 0) + number
    else:
        getattr(report, look.state)[label] = look.reason
