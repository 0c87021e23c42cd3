"""Reading the expert labels of an image (docs/labels.md)."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from dataset.words import read_words
from model.errors import UserError
from model.modalities import BACKGROUND, EMBEDDING_DIM, Kind, Modality, modality

NO_CLASS = -1  # in a table of instances: an id without a class
_MODES = {1: "L", 3: "RGB"}  # channels -> Pillow's name for them
# Scripts under experts/ that write labels: one a kind, and one for every continuous quantity.
_SCRIPTS = {Kind.SEMANTIC: "segmentation", Kind.INSTANCE: "objdet", Kind.WORDS: "ocrdet"}


class LabelReader:
    """Reads what the experts left for an image.

    Args:
        label_path: folder with a folder for every expert.
        experts: modality names.
        compat: read an empty semantic label as class 0 everywhere, as the original does.
    """

    def __init__(self, label_path: Path | str, experts: Sequence[str], compat: bool = False) -> None:
        self.root = Path(label_path)
        self.modalities = [modality(name) for name in experts]
        self.compat = compat

    def check_folders(self, folder: str = "") -> None:
        """Checks that every expert has been run on a data set.

        Args:
            folder: the data set's folder under that of the expert.

        Raises:
            UserError: a folder is missing; names the script that makes it.
        """
        for entry in self.modalities:
            # An expert of words may have found no text in the whole data set.
            path = self.root / entry.name / ("" if entry.kind is Kind.WORDS else folder)
            if not path.is_dir():
                raise UserError(f"label folder {path} is missing; run {_script(entry)} or check label_path")

    def path(self, entry: Modality, key: str) -> Path:
        """The label's PNG; `key` is `<data set folder>/<image path without suffix>`."""
        return self.root / entry.name / f"{key}.png"

    def read(self, key: str, size: tuple[int, int]) -> tuple[dict[str, Image.Image], dict[str, Tensor]]:
        """Reads all labels of an image.

        Args:
            key: `<data set folder>/<image path without suffix>`.
            size: width and height of the image, which its labels must have, too.

        Returns:
            The labels as pictures, by modality name; and, by modality name, the tables of those that have
            one: for instances the class of each id, int64 (n,), for words their embeddings, float32
            (n, 64). A table has at least one row: of -1 or of zeros if there is nothing.

        Raises:
            UserError: a label is missing, damaged, or of another size than the image.
        """
        pictures, tables = {}, {}
        for entry in self.modalities:
            picture = self._picture(entry, self.path(entry, key), size)
            if entry.kind is Kind.INSTANCE:
                tables[entry.name] = self._instances(entry, key) if picture else _instance_table({})
            elif entry.kind is Kind.WORDS:
                tables[entry.name] = self._words(entry, key) if picture else _word_table({})
            pictures[entry.name] = picture or self._empty(entry, size)
        return pictures, tables

    def _picture(self, entry: Modality, path: Path, size: tuple[int, int]) -> Image.Image | None:
        """The label, or None if the expert had none to give."""
        try:
            if path.stat().st_size == 0:
                return None
            with Image.open(path) as picture:
                picture.load()
        except FileNotFoundError:
            if entry.kind is Kind.WORDS:
                return None
            raise UserError(f"label {path} is missing; run {_script(entry)}") from None
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(f"label {path}: damaged ({error}); delete it and run {_script(entry)}") from None
        if picture.mode != _MODES[entry.channels]:
            raise UserError(
                f"label {path}: Pillow mode {picture.mode}, expected {_MODES[entry.channels]} "
                f"(8 bit, channels: {entry.channels}); delete it and run {_script(entry)}"
            )
        if picture.size != size:
            raise UserError(
                f"label {path} is {picture.size[0]} x {picture.size[1]} but its image is "
                f"{size[0]} x {size[1]}; delete it and run {_script(entry)}"
            )
        return picture

    def _empty(self, entry: Modality, size: tuple[int, int]) -> Image.Image:
        fill = 0 if self.compat and entry.kind is Kind.SEMANTIC else entry.fill
        return Image.new(_MODES[entry.channels], size, (fill,) * entry.channels)

    def _sidecar(self, entry: Modality, key: str) -> Path:
        """The file beside a label that is there: the newest format that exists."""
        base = self.root / entry.name / key
        paths = [base.with_name(base.name + suffix) for suffix in entry.sidecars]
        for path in paths:
            if path.is_file():
                return path
        raise UserError(f"label {paths[0]} is missing beside its PNG; run {_script(entry)}")

    def _instances(self, entry: Modality, key: str) -> Tensor:
        return _instance_table(read_instances(self._sidecar(entry, key)))

    def _words(self, entry: Modality, key: str) -> Tensor:
        words = read_words(self._sidecar(entry, key))
        return _word_table({number: torch.from_numpy(word.features) for number, word in words.items()})


def read_instances(path: Path) -> dict[int, int]:
    """The class index of each instance id, from the JSON beside an instance label.

    Raises:
        UserError: damaged.
    """
    try:
        classes = json.loads(path.read_text(encoding="utf-8"))
        return {int(number): int(index) for number, index in classes.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"label {path}: damaged ({error}); delete it and make it anew") from None


def _instance_table(classes: dict[int, int]) -> Tensor:
    table = torch.full((_rows(classes),), NO_CLASS)
    for number, index in classes.items():
        if 0 <= number < BACKGROUND:  # a byte holds no more; older labels may list more
            table[number] = index
    return table


def _word_table(features: dict[int, Tensor]) -> Tensor:
    table = torch.zeros(_rows(features), EMBEDDING_DIM)
    for number, vector in features.items():
        if 0 <= number < BACKGROUND:
            table[number] = vector
    return table


def _rows(entries: dict[int, object]) -> int:
    return min(max(entries, default=0) + 1, BACKGROUND)


def _script(entry: Modality) -> str:
    return f"experts/generate_{_SCRIPTS.get(entry.kind, entry.name)}.py"
