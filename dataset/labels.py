"""Reading the expert labels of an image (docs/labels.md)."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from common.errors import UserError
from common.strict_json import parse_json
from dataset.label_files import MODES, PACKED, MissingLabel, Word, packed_size, read_picture, read_sidecar, script
from dataset.location import Url, as_location
from dataset.shards.shard_folder import ShardFile, ShardFolder, open_folder
from model.modalities import BACKGROUND, EMBEDDING_DIM, Kind, Modality, modality

NO_CLASS = -1  # in a table of instances: an id without a class
MANIFEST = "manifest.json"  # beside the labels of an expert that ran here (dataset/label_manifest.py)


class LabelReader:
    """Reads the labels of an image.

    Args:
        label_path: folder with a folder for every expert, or its address.
        experts: modality names.
        compat: read an empty semantic label as class 0 everywhere, as the original does.
        classes: the number of classes, by expert; without it any class is accepted.
    """

    def __init__(
        self,
        label_path: Path | Url | str,
        experts: Sequence[str],
        compat: bool = False,
        classes: Mapping[str, int] | None = None,
    ) -> None:
        self.root = as_location(label_path)
        self.modalities = [modality(name) for name in experts]
        self.compat = compat
        self.classes = classes or {}
        self._folder = ""
        self._shards: dict[str, ShardFolder] = {}  # by expert, of those whose labels are packed
        self._words_may_lack: bool | None = None  # the answer of `may_lack`, once known

    def open_folder(self, folder: str = "", shards: Sequence[str] | None = None) -> None:
        """Finds out how the labels of a data set are stored, and that every expert has a folder of them.

        Args:
            folder: the data set's folder under that of the expert.
            shards: those of the images, where these are packed; packed labels must have the same.

        Raises:
            UserError: a folder or a shard is missing; names the script that makes it.
        """
        self._folder = folder
        for entry in self.modalities:
            path = self.root / entry.name
            if isinstance(self.root, Path) and not (path / folder).is_dir():
                # An expert of words may have found no text in the whole data set.
                if self.may_lack(entry) and path.is_dir():
                    continue
                where = path if entry.kind is Kind.WORDS else path / folder
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
        """Whether a missing label means that the expert found nothing in the image.

        Labels made elsewhere, such as the released ones, say so that an image has no text. Ours have a file of
        zero bytes, and a manifest beside all of them.
        """
        if entry.kind is not Kind.WORDS:
            return False
        if self._words_may_lack is None:
            try:
                manifest = parse_json((self.root / entry.name / MANIFEST).read_bytes())
                self._words_may_lack = manifest["made_elsewhere"] != 0
            except (OSError, ValueError, KeyError, TypeError):
                self._words_may_lack = True
        return self._words_may_lack

    def is_broken(self, shard: str) -> bool:
        """Whether a shard of labels could not be read at the last attempt."""
        return any(files.is_broken(files.number(shard)) for files in self._shards.values())

    def retry_broken(self) -> None:
        """Has broken shards read again at the next request."""
        for files in self._shards.values():
            files.retry_broken()

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
        """Begins to read the labels of an image that come from a server; see `read`."""
        for entry in self.modalities:
            path = self.path(entry, key, shard)
            if isinstance(path, ShardFile):
                path.read_ahead()

    def read(
        self, key: str, size: tuple[int, int], shard: str | None = None
    ) -> tuple[dict[str, Image.Image], dict[str, Tensor]]:
        """Reads all labels of an image.

        Args:
            key, shard: see `path`.
            size: width and height of the image. Its labels have that size, or that of packed ones.

        Returns:
            The labels as pictures, by modality name; and the tables of instances and words, by modality name:
            for instances the class of each id, int64 (n,), for words their embeddings, float32 (n, 64). A
            table has at least one row: of -1 or of zeros if there is nothing.

        Raises:
            MissingLabel: a label is missing.
            DamagedLabel: a label is damaged.
            UserError: a label is of another size than the image, of another kind, or of a class that the class
                table lacks.
        """
        pictures, tables = {}, {}
        for entry in self.modalities:
            path = self.path(entry, key, shard)
            picture, packed = None, None
            try:
                picture, packed = read_picture(entry, path)
            except MissingLabel:
                if not self.may_lack(entry):
                    raise
            if picture is not None and picture.size not in (size, packed_size(size)):
                raise UserError(
                    f"label {path} is {picture.size[0]} x {picture.size[1]} but its image is "
                    f"{size[0]} x {size[1]}; delete it and run {script(entry)}"
                )
            if entry.kind in (Kind.INSTANCE, Kind.WORDS):
                found = read_sidecar(entry, path, packed) if picture else {}
                if entry.kind is Kind.INSTANCE:
                    self._check_classes(entry, path, found.values())
                tables[entry.name] = _table(entry, found)
            elif entry.kind is Kind.SEMANTIC and picture:
                counts = picture.histogram()[:BACKGROUND]
                self._check_classes(entry, path, (index for index, count in enumerate(counts) if count))
            if picture is None:
                fill = 0 if self.compat and entry.kind is Kind.SEMANTIC else entry.fill
                picture = Image.new(MODES[entry.channels], size, (fill,) * entry.channels)
            pictures[entry.name] = picture
        return pictures, tables

    def _check_classes(self, entry: Modality, path: Path | ShardFile, indices: Iterable[int]) -> None:
        there = self.classes.get(entry.name)
        if there is not None and (highest := max(indices, default=0)) >= there:
            raise UserError(
                f"label {path}: class {highest}, but the class table '{entry.classes}' has {there}; "
                f"check class_tables, or delete it and run {script(entry)}"
            )


def _table(entry: Modality, found: Mapping[int, int] | Mapping[int, Word]) -> Tensor:
    """The classes of instances, or the embeddings of words, by id."""
    # A map of bytes holds ids below 255; older labels may list more.
    found = {number: value for number, value in found.items() if 0 <= number < BACKGROUND}
    rows = max(found, default=0) + 1
    if entry.kind is Kind.INSTANCE:
        table = torch.full((rows,), NO_CLASS)
    else:
        table = torch.zeros(rows, EMBEDDING_DIM)
        found = {number: torch.from_numpy(word.features) for number, word in found.items()}
    for number, value in found.items():
        table[number] = value
    return table
