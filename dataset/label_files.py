"""The files of one label: a PNG with its sidecar, or both packed into one small WebP (docs/labels.md)."""

import io
import json
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from common.errors import UserError, one_line
from common.strict_json import parse_json
from dataset.shards.shard_folder import ShardFile
from model.modalities import EMBEDDING_DIM, Kind, Modality

LONG_SIDE = 480  # pixels of a packed label; a training crop keeps half of its area, and is scaled to 224
PACKED = ".webp"  # WebP is the smallest of Pillow's lossless formats for every kind of label (docs/shards.md)
MODES = {1: "L", 3: "RGB"}  # channels -> Pillow's name for them
_METHOD = 2  # of WebP, 0..6; 4 takes 1.5 times as long for 2 %, 6 a hundred times for 5 %
# Scripts under experts/ that write labels: one a kind, and one for every continuous quantity.
_SCRIPTS = {Kind.SEMANTIC: "segmentation", Kind.INSTANCE: "objdet", Kind.WORDS: "ocrdet"}


class MissingLabel(UserError):
    """An image has no label."""


class DamagedLabel(UserError):
    """A label exists but is damaged; data sets skip its image."""


@contextmanager
def _reading(label: object, remedy: str) -> Iterator[None]:
    """Turns any exception of the readers of pictures, JSON and pickles into `DamagedLabel`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise DamagedLabel(f"label {label}: damaged ({one_line(error)[:100]}); {remedy}") from None


@dataclass(frozen=True)
class Word:
    """One word of an image. `features`: its embedding, float32 (64,)."""

    text: str
    features: np.ndarray


def script(entry: Modality) -> str:
    """The script that makes labels."""
    return f"experts/generate_{_SCRIPTS.get(entry.kind, entry.name)}.py"


def packed_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the packed label of an image."""
    longer = max(size)
    if longer <= LONG_SIDE:
        return size
    width, height = (max(1, round(side * LONG_SIDE / longer)) for side in size)
    return width, height


def pack_label(picture: Image.Image | None, sidecar: dict[str, Any] | None = None) -> bytes:
    """Packs a label into one file; a label that says "nothing here" has zero bytes, as its PNG has.

    Args:
        picture: of 8 bits, grey or RGB; None: nothing here.
        sidecar: the content of the JSON beside the PNG; it becomes the XMP chunk.
    """
    if picture is None:
        return b""
    small = picture.resize(packed_size(picture.size), Image.Resampling.NEAREST)
    file = io.BytesIO()
    beside = {} if sidecar is None else {"xmp": json.dumps(sidecar, separators=(",", ":")).encode()}
    small.save(file, "WEBP", lossless=True, quality=75, method=_METHOD, exact=True, **beside)
    return file.getvalue()


def unpack_label(content: bytes, channels: int) -> tuple[Image.Image | None, dict[str, Any] | None]:
    """The picture and the sidecar of a packed label; raises any exception if it is damaged.

    Args:
        content: a packed label.
        channels: of the label; WebP stores grey as RGB.
    """
    if not content:
        return None, None
    with Image.open(io.BytesIO(content), formats=["WEBP"]) as picture:
        sidecar = parse_json(picture.info["xmp"]) if "xmp" in picture.info else None
        picture.load()
        return (picture.getchannel(0) if channels == 1 else picture.convert("RGB")), sidecar


def read_picture(entry: Modality, path: Path | ShardFile) -> tuple[Image.Image | None, dict[str, Any] | None]:
    """A label's picture, None if the expert found nothing; and the sidecar that is packed with it.

    Raises:
        MissingLabel: there is no such file.
        DamagedLabel: it is damaged.
        UserError: it has another number of channels or bits.
    """
    with _reading(path, f"delete it and run {script(entry)}"):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise MissingLabel(f"label {path} is missing; run {script(entry)}") from None
        picture, sidecar = None, None
        if path.suffix == PACKED:
            picture, sidecar = unpack_label(content, entry.channels)
        elif content:
            with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
                picture.load()
    if picture is not None and picture.mode != MODES[entry.channels]:
        raise UserError(
            f"label {path}: Pillow mode {picture.mode}, expected {MODES[entry.channels]} "
            f"(8 bit, channels: {entry.channels}); delete it and run {script(entry)}"
        )
    return picture, sidecar


def sidecars(png: Path | ShardFile, entry: Modality) -> list[Path | ShardFile]:
    """The files that may lie beside a label, the newest format first."""
    return [png.with_suffix(suffix) for suffix in entry.sidecars]


def read_sidecar(
    entry: Modality, path: Path | ShardFile, packed: dict[str, Any] | None
) -> dict[int, int] | dict[int, Word]:
    """The classes of instances, or the words, that go with a label's picture, by id.

    Args:
        entry: the modality, of instances or of words.
        path: the picture.
        packed: the sidecar that is packed with it.

    Raises:
        MissingLabel: the picture has no sidecar.
        DamagedLabel: it is damaged.
    """
    if path.suffix == PACKED:
        with _reading(path, "pack it anew"):
            return (_classes if entry.kind is Kind.INSTANCE else words_of)(packed)
    files = sidecars(path, entry)
    for file in files:
        if file.is_file():
            return (read_instances if entry.kind is Kind.INSTANCE else read_words)(file)
    raise MissingLabel(f"label {files[0]} is missing beside its PNG; delete that and run {script(entry)}")


def read_instances(path: Path | ShardFile) -> dict[int, int]:
    """The class index of each instance id, from the JSON beside an instance label.

    Raises:
        DamagedLabel: it cannot be read, or holds something else.
    """
    with _reading(path, "delete it and make it anew"):
        return _classes(parse_json(path.read_bytes()))


def _classes(content: dict[Any, Any]) -> dict[int, int]:
    for number, index in content.items():
        if type(index) is not int or index < 0:  # not an index of a class table
            raise ValueError(f"the class of instance {number} is {index!r}")
    return {int(number): index for number, index in content.items()}


def read_words(path: Path | ShardFile) -> dict[int, Word]:
    """Reads the words beside a text label, by word id.

    Args:
        path: `.json`, as our expert writes it, or the older `.pt`; only data in it is read.

    Raises:
        DamagedLabel: it cannot be read, or holds something else.
    """
    with _reading(path, "delete it and make it anew"):
        if path.suffix != ".pt":
            return words_of(parse_json(path.read_bytes()))
        try:
            with path.open("rb") as file:
                return words_of(torch.load(file, map_location="cpu", weights_only=True))
        except pickle.UnpicklingError:  # its text advises to run the code in the file
            raise ValueError("it holds more than data") from None


def words_of(content: dict[Any, Any]) -> dict[int, Word]:
    """Words by id, from the content of their file; raises any exception if it is something else."""
    return {int(number): _word(entry) for number, entry in content.items()}


def _word(entry: dict[str, Any]) -> Word:
    features = np.asarray(entry["features"], dtype=np.float32)
    if features.shape != (EMBEDDING_DIM,):
        raise ValueError(f"features of shape {features.shape}, expected ({EMBEDDING_DIM},)")
    if not np.isfinite(features).all():
        raise ValueError("features that are NaN or infinite")
    if not isinstance(entry["text"], str):
        raise ValueError(f"a text that is {entry['text']!r}")
    return Word(entry["text"], features)


def words_as_json(words: Mapping[int, Word]) -> dict[str, Any]:
    """The content of the file of words."""
    return {
        # str() is the shortest decimal that reads back as the same float32
        str(key): {"text": word.text, "features": [float(str(x)) for x in word.features]}
        for key, word in words.items()
    }
