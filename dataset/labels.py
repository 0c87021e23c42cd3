"""Reading the expert labels of an image (docs/labels.md)."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor

from common.errors import UserError
from common.strict_json import parse_json
from dataset.label_errors import MissingLabel, reading
from dataset.location import Url, as_place
from dataset.packed_labels import SUFFIX as PACKED
from dataset.packed_labels import packed_size, unpack_label
from dataset.shards.shard_folder import ShardFile, ShardFolder, open_folder
from dataset.word_labels import Word, read_words, words_of
from model.modalities import BACKGROUND, EMBEDDING_DIM, Kind, Modality, modality

T = TypeVar("T")
NO_CLASS = -1  # in a table of instances: an id without a class
MANIFEST = "manifest.json"  # beside the labels of an expert that ran here (dataset/label_manifest.py)
_MODES = {1: "L", 3: "RGB"}  # channels -> Pillow's name for them
# Scripts under experts/ that write labels: one a kind, and one for every continuous quantity.
_SCRIPTS = {Kind.SEMANTIC: "segmentation", Kind.INSTANCE: "objdet", Kind.WORDS: "ocrdet"}


class LabelReader:
    """Reads what the experts left for an image.

    Args:
        label_path: folder with a folder for every expert, or its address.
        experts: modality names.
        compat: read an empty semantic label as class 0 everywhere, as the original does.
        classes: how many there are, by expert; without it any class is taken for good.
    """

    def __init__(
        self,
        label_path: Path | Url | str,
        experts: Sequence[str],
        compat: bool = False,
        classes: Mapping[str, int] | None = None,
    ) -> None:
        self.root = as_place(label_path)
        self.modalities = [modality(name) for name in experts]
        self.compat = compat
        self.classes = classes or {}
        self._folder = ""
        self._shards: dict[str, ShardFolder] = {}  # by expert, of those whose labels are packed
        self._words_may_lack: bool | None = None  # see `may_lack`, once it was asked

    def open_folder(self, folder: str = "", shards: Sequence[str] | None = None) -> None:
        """Finds out how the labels of a data set are stored, and that there are any of every expert.

        Args:
            folder: the data set's folder under that of the expert.
            shards: those of the images, where these are packed; packed labels must have the same.

        Raises:
            UserError: a folder or a shard is missing; names the script that makes it.
        """
        self._folder = folder
        for entry in self.modalities:
            path = self.root / entry.name
            is_words = entry.kind is Kind.WORDS
            if isinstance(self.root, Path) and not (path / folder).is_dir():
                # An expert of words may have found no text in the whole data set.
                if self.may_lack(entry) and path.is_dir():
                    continue
                where = path if is_words else path / folder
                raise UserError(f"label folder {where} is missing; run {script(entry)} or check label_path")
            files = open_folder(path / folder)
            if isinstance(files, ShardFolder):
                lacking = [name for name in shards or () if files.number(name) is None]
                if lacking:
                    raise UserError(
                        f"label folder {files}: {len(lacking)} of {len(shards)} shards are missing, such as "
                        f"{lacking[0]}; pack them, or run {script(entry)}"
                    )
                self._shards[entry.name] = files

    @property
    def are_packed(self) -> bool:
        """Whether all labels are in shards."""
        return len(self._shards) == len(self.modalities)

    def may_lack(self, entry: Modality) -> bool:
        """Whether an image without a label is one in which the expert found nothing.

        That is how labels made elsewhere, such as the released ones, say that there is no text. Ours leave
        a file of zero bytes, and beside all of them a manifest.
        """
        if entry.kind is not Kind.WORDS:
            return False
        if self._words_may_lack is None:
            self._words_may_lack = _some_made_elsewhere(self.root / entry.name / MANIFEST)
        return self._words_may_lack

    def has(self, entry: Modality, key: str, shard: str | None = None) -> bool:
        """Whether there is a label; the arguments are those of `path`."""
        return self.path(entry, key, shard).is_file()

    def is_broken(self, shard: str) -> bool:
        """Whether a shard of labels could not be read when that was last tried."""
        return any(files.is_broken(files.number(shard)) for files in self._shards.values())

    def mend(self) -> None:
        """Lets broken shards be tried again."""
        for files in self._shards.values():
            files.mend()

    def path(self, entry: Modality, key: str, shard: str | None = None) -> Path | ShardFile:
        """The label's picture.

        Args:
            entry: whose label.
            key: `<data set folder>/<image path without suffix>`.
            shard: that of the image, where images are packed.
        """
        files = self._shards.get(entry.name)
        if files is None:
            return self.root / entry.name / f"{key}.png"
        name = key.removeprefix(f"{self._folder}/") if self._folder else key
        number = None if shard is None else files.number(shard)
        packed = ShardFile(files, name + PACKED, number)
        return packed if packed.is_file() else ShardFile(files, f"{name}.png", number)

    def read_ahead(self, key: str, shard: str) -> None:
        """Begins to read the labels of an image, as far as they come from a server; see `read`."""
        for entry in self.modalities:
            path = self.path(entry, key, shard)
            if isinstance(path, ShardFile):
                path.read_ahead()

    def read(
        self, key: str, size: tuple[int, int], shard: str | None = None
    ) -> tuple[dict[str, Image.Image], dict[str, Tensor]]:
        """Reads all labels of an image.

        Args:
            key: `<data set folder>/<image path without suffix>`.
            size: width and height of the image. Its labels have that size, or that of packed ones.
            shard: that of the image, where images are packed.

        Returns:
            The labels as pictures, by modality name; and, by modality name, the tables of those that have
            one: for instances the class of each id, int64 (n,), for words their embeddings, float32
            (n, 64). A table has at least one row: of -1 or of zeros if there is nothing.

        Raises:
            MissingLabel: a label is missing.
            DamagedLabel: a label is damaged.
            UserError: a label is of another size than the image, of another kind, or of a class that is not
                in the class table.
        """
        pictures, tables = {}, {}
        for entry in self.modalities:
            path = self.path(entry, key, shard)
            picture, sidecar = None, None
            try:
                picture, sidecar = read_picture(entry, path)
            except MissingLabel:
                if not self.may_lack(entry):
                    raise
            if picture is not None and picture.size not in (size, packed_size(size)):
                raise UserError(
                    f"label {path} is {picture.size[0]} x {picture.size[1]} but its image is "
                    f"{size[0]} x {size[1]}; delete it and run {script(entry)}"
                )
            if entry.kind is Kind.INSTANCE:
                classes = _beside(entry, path, sidecar, _classes, read_instances) if picture else {}
                self._check_classes(entry, path, classes.values())
                tables[entry.name] = _instance_table(classes)
            elif entry.kind is Kind.WORDS:
                words = _beside(entry, path, sidecar, words_of, read_words) if picture else {}
                tables[entry.name] = _word_table(words)
            elif entry.kind is Kind.SEMANTIC and picture:
                counts = picture.histogram()[:BACKGROUND]
                self._check_classes(entry, path, (index for index, count in enumerate(counts) if count))
            pictures[entry.name] = picture or self._empty(entry, size)
        return pictures, tables

    def _check_classes(self, entry: Modality, path: Path | ShardFile, indices: Iterable[int]) -> None:
        there = self.classes.get(entry.name)
        if there is not None and (highest := max(indices, default=0)) >= there:
            raise UserError(
                f"label {path}: class {highest}, but the class table '{entry.classes}' has {there}; "
                f"check class_tables, or delete it and run {script(entry)}"
            )

    def _empty(self, entry: Modality, size: tuple[int, int]) -> Image.Image:
        fill = 0 if self.compat and entry.kind is Kind.SEMANTIC else entry.fill
        return Image.new(_MODES[entry.channels], size, (fill,) * entry.channels)


def _some_made_elsewhere(manifest: Path | Url) -> bool:
    try:
        return parse_json(manifest.read_bytes())["made_elsewhere"] != 0
    except (OSError, ValueError, KeyError, TypeError):
        return True


def read_picture(entry: Modality, path: Path | ShardFile) -> tuple[Image.Image | None, dict[str, Any] | None]:
    """A label, None if the expert had none to give; and what is packed with it.

    Raises:
        MissingLabel: there is no such file.
        DamagedLabel: it is damaged.
        UserError: it is of another mode.
    """
    with reading(path, f"delete it and run {script(entry)}"):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise MissingLabel(f"label {path} is missing; run {script(entry)}") from None
        if path.suffix == PACKED:
            picture, sidecar = unpack_label(content, entry.channels)
        else:
            picture, sidecar = _png(content), None
    if picture is not None and picture.mode != _MODES[entry.channels]:
        raise UserError(
            f"label {path}: Pillow mode {picture.mode}, expected {_MODES[entry.channels]} "
            f"(8 bit, channels: {entry.channels}); delete it and run {script(entry)}"
        )
    return picture, sidecar


def _png(content: bytes) -> Image.Image | None:
    if not content:
        return None
    with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
        picture.load()
    return picture


def _beside(
    entry: Modality,
    path: Path | ShardFile,
    sidecar: dict[str, Any] | None,
    parse: Callable[[dict[str, Any]], dict[int, T]],
    read: Callable[[Path | ShardFile], dict[int, T]],
) -> dict[int, T]:
    """What stands beside a label that is there: packed with it, or in the newest file that exists."""
    if path.suffix == PACKED:
        with reading(path, "pack it anew"):
            return parse(sidecar)
    base = sidecars(path, entry)
    for file in base:
        if file.is_file():
            return read(file)
    raise MissingLabel(f"label {base[0]} is missing beside its PNG; delete that and run {script(entry)}")


def sidecars(png: Path | ShardFile, entry: Modality) -> list[Path | ShardFile]:
    """The files that may lie beside a label, the newest format first."""
    return [png.with_suffix(suffix) for suffix in entry.sidecars]


def read_instances(path: Path | ShardFile) -> dict[int, int]:
    """The class index of each instance id, from the JSON beside an instance label.

    Raises:
        DamagedLabel: it cannot be read, or holds something else.
    """
    with reading(path, "delete it and make it anew"):
        return _classes(parse_json(path.read_bytes()))


def _classes(content: dict[Any, Any]) -> dict[int, int]:
    for number, index in content.items():
        if type(index) is not int or index < 0:  # of a class table; a name or a fraction is none
            raise ValueError(f"the class of instance {number} is {index!r}")
    return {int(number): index for number, index in content.items()}


def _instance_table(classes: dict[int, int]) -> Tensor:
    classes = _of_a_byte(classes)
    table = torch.full((max(classes, default=0) + 1,), NO_CLASS)
    for number, index in classes.items():
        table[number] = index
    return table


def _word_table(words: dict[int, Word]) -> Tensor:
    words = _of_a_byte(words)
    table = torch.zeros(max(words, default=0) + 1, EMBEDDING_DIM)
    for number, word in words.items():
        table[number] = torch.from_numpy(word.features)
    return table


def _of_a_byte(entries: dict[int, T]) -> dict[int, T]:
    """Those whose ids a map can hold; older labels may list more."""
    return {number: entry for number, entry in entries.items() if 0 <= number < BACKGROUND}


def script(entry: Modality) -> str:
    """The script that makes labels."""
    return f"experts/generate_{_SCRIPTS.get(entry.kind, entry.name)}.py"
