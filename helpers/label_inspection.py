"""What there is of a data set's labels, and what is wrong with them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from dataset.images import UnreadableImage, read_image
from dataset.labels import NO_CLASS, LabelReader
from dataset.words import read_words
from experts.images import ImageFile
from experts.manifest import read_manifest
from experts.write import label_png, stored_labels
from model.errors import UserError
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


@dataclass(frozen=True)
class _Looker:
    """Looks at the labels of an image; sent to other processes.

    Attributes:
        label_path: the label folder.
        whole: experts that leave a file for every image.
        names: class names by expert; without them any class is taken for good.
    """

    label_path: Path
    whole: Mapping[str, bool]
    names: Mapping[str, Sequence[str]]

    def __call__(self, image: ImageFile) -> dict[str, _Look] | str:
        """Looks by expert, or why the image cannot be read."""
        try:
            with Image.open(image.path) as picture:
                size = picture.size
            looks = {expert: self.look(modality(expert), image.label, size) for expert in self.whole}
            if any(look.state == "missing" for look in looks.values()):
                read_image(Path(image.path))  # whether there could be a label
        except UnreadableImage as error:
            return error.reason
        except (OSError, SyntaxError, ValueError, UserError) as error:
            return str(error)
        return looks

    def look(self, entry: Modality, label: str, size: tuple[int, int]) -> _Look:
        """Reads a label and what is beside it, as training does."""
        png = label_png(self.label_path, entry.name, label)
        if not png.exists():
            optional = entry.kind is Kind.WORDS and not self.whole[entry.name]
            return _Look("labels", empty=True) if optional else _Look("missing")
        try:
            pictures, tables = LabelReader(self.label_path, [entry.name]).read(label, size)
        except UserError as error:
            return _Look("damaged", str(error))
        pixels = np.asarray(pictures[entry.name])
        if png.stat().st_size == 0:
            return _Look("labels", empty=True)
        if not entry.is_label_map:
            return _Look("labels", flat=bool(pixels.min() == pixels.max()))
        values = [int(value) for value in np.flatnonzero(np.bincount(pixels.ravel(), minlength=256))]
        values = [value for value in values if value != BACKGROUND]
        if entry.kind is Kind.SEMANTIC:
            return self._of_classes(entry.name, values, empty=not values)
        if entry.kind is Kind.INSTANCE:
            table = tables[entry.name].tolist()
            classes = [table[value] if value < len(table) else NO_CLASS for value in values]
            if NO_CLASS in classes:
                return _Look("unexpected", f"instance {values[classes.index(NO_CLASS)]} has no class")
            return self._of_classes(entry.name, classes, empty=not values)
        return _of_words(png, entry, values)

    def _of_classes(self, expert: str, indices: list[int], empty: bool) -> _Look:
        names = self.names.get(expert)
        if names is not None and indices and max(indices) >= len(names):
            return _Look("unexpected", f"class {max(indices)}, but there are {len(names)}")
        return _Look("labels", classes=Counter(names[i] if names else str(i) for i in indices), empty=empty)


def _of_words(png: Path, entry: Modality, values: list[int]) -> _Look:
    paths = (png.with_name(png.name.removesuffix(".png") + suffix) for suffix in entry.sidecars)
    words = read_words(next(path for path in paths if path.exists()))  # the label's reader has read it
    for value in values:
        if value not in words:
            return _Look("unexpected", f"word {value} has no text")
    if not all(np.isfinite(word.features).all() for word in words.values()):
        return _Look("unexpected", "an embedding is not finite")
    return _Look("labels", classes=Counter(word.text for word in words.values()), empty=not words)


def inspect(
    images: Sequence[ImageFile],
    label_path: Path,
    experts: Sequence[str],
    names: Mapping[str, Sequence[str]],
    folders: Sequence[str] = ("",),
    num_workers: int = 0,
) -> Inspection:
    """Looks at all labels of a data set.

    Args:
        images: the data set.
        label_path: the label folder.
        experts: whose labels.
        names: class names by expert, of those whose names are known.
        folders: below each expert's folder, where a label without an image counts as stray.
        num_workers: processes; 0 does it in this one.
    """
    manifests = {expert: read_manifest(label_path / expert) for expert in experts}
    result = Inspection()
    for expert, manifest in manifests.items():
        made_with = f"{manifest.backend}, {manifest.precision}" if manifest else "unknown"
        if manifest and manifest.made_elsewhere:
            made_with += f", {manifest.made_elsewhere} made elsewhere"
        result.experts[expert] = ExpertReport(made_with)
    whole = {expert: bool(entry) and not entry.made_elsewhere for expert, entry in manifests.items()}
    for image, looks in _looks(_Looker(label_path, whole, names), images, num_workers):
        if isinstance(looks, str):
            result.unreadable[image.path] = looks
            continue
        result.images += 1
        for expert, look in looks.items():
            _add(result.experts[expert], image.label, look)
    known = {image.label for image in images}
    for expert, report in result.experts.items():
        for folder in folders:
            start = f"{folder}/" if folder else ""
            found = (start + label for label in stored_labels(label_path / expert / folder))
            report.stray += sorted(label for label in found if label not in known)
    return result


def _looks(
    looker: _Looker, images: Sequence[ImageFile], num_workers: int
) -> Iterator[tuple[ImageFile, dict[str, _Look] | str]]:
    if num_workers == 0:
        yield from zip(images, map(looker, images), strict=True)
        return
    with ProcessPoolExecutor(num_workers) as pool:
        yield from zip(images, pool.map(looker, images, chunksize=32), strict=True)


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
