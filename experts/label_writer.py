"""Labels as files and as shards.

A label is `<save_path>/<expert>/<image path without suffix>.png`, with a JSON file beside it for instances and
words. An empty PNG file means "nothing here". The PNG is written last, so a label with a PNG is finished.

Images in `<shard>.tar` get a shard of labels with the same name. It appears when all images of the shard are
labelled, so a killed run makes it again. An image that failed has no record in it; the next run adds that.
"""

import errno
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from PIL import Image

from common.errors import UserError
from common.files import write_bytes
from dataset.label_files import PACKED, pack_label, words_as_json
from dataset.label_manifest import MANIFEST
from dataset.shards.shard_folder import LIST
from dataset.shards.tar_index import SUFFIX as INDEX
from dataset.shards.tar_index import index_of, key_of
from dataset.shards.writer import ShardWriter
from experts.base import Label
from experts.dataset_images import Item, Task
from model.modalities import modality

_COMPRESSION = 3  # of PNG, 0..9; for normals, 6 takes more than twice the time and saves a sixth


def label_png(save_path: Path, expert: str, label: str) -> Path:
    """The PNG of a label. Names may hold dots, so `with_suffix` would be wrong."""
    return save_path / expert / f"{label}.png"


def label_shard(save_path: Path, expert: str, shard: str) -> Path:
    """The tar file with the labels of a shard of images."""
    return save_path / expert / f"{shard}.tar"


def sidecars(save_path: Path, expert: str, name: str) -> list[Path]:
    """Possible files beside a label, the format that is written first."""
    return [save_path / expert / f"{name}{suffix}" for suffix in modality(expert).sidecars]


def is_sidecar(path: Path) -> bool:
    """Whether a file is a sidecar of `write_label`. A killed run may leave it without the PNG."""
    try:
        return all(map(str.isdecimal, json.loads(path.read_bytes()).keys()))
    except (ValueError, AttributeError, RecursionError):
        return False


def packed_label(label: Label) -> bytes:
    """A label as a record of a shard (`dataset.label_files`)."""
    picture = None if label.map is None else Image.fromarray(label.map)
    return pack_label(picture, _sidecar(label))


def write_label(save_path: Path, expert: str, name: str, label: Label) -> None:
    """Writes a label, each of its files whole or not at all."""
    content = _sidecar(label)
    for index, sidecar in enumerate(sidecars(save_path, expert, name)):
        if index == 0 and content is not None:
            write_bytes(sidecar, json.dumps(content).encode())
        else:
            sidecar.unlink(missing_ok=True)  # it belongs to the label that is replaced
    buffer = io.BytesIO()
    if label.map is not None:
        Image.fromarray(label.map).save(buffer, format="PNG", compress_level=_COMPRESSION)
    write_bytes(label_png(save_path, expert, name), buffer.getvalue())


def _sidecar(label: Label) -> dict | None:
    if label.instances is not None:
        return {str(key): value for key, value in label.instances.items()}
    return words_as_json(label.words) if label.words else None


def remove_label(save_path: Path, expert: str, name: str) -> None:
    """Removes a label or a shard of labels, the PNG first, so that the rest does not look finished."""
    shard = label_shard(save_path, expert, name)
    packed = (shard, shard.with_name(shard.name + INDEX))
    for path in (label_png(save_path, expert, name), *sidecars(save_path, expert, name), *packed):
        path.unlink(missing_ok=True)


def stored_labels(folder: Path) -> Iterator[str]:
    """The labels and shards of labels in an expert's folder, as paths below it without suffix."""
    for path in _files(folder):
        if path.endswith((".png", ".tar")):
            yield os.path.relpath(path, folder).replace(os.sep, "/")[:-4]


def remove_if_empty(folder: Path) -> None:
    """Removes the files of a run from an expert's folder that holds no label."""
    if not (folder / MANIFEST).is_file():
        return
    if any(path.endswith(".png") or (path.endswith(".tar") and index_of(Path(path)).names) for path in _files(folder)):
        return
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            if name in (MANIFEST, LIST) or name.endswith((".tar", f".tar{INDEX}")):
                os.unlink(os.path.join(parent, name))
        with suppress(OSError):  # another program's files may be there
            os.rmdir(parent)


def _files(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        yield from (os.path.join(parent, name) for name in names)


class LabelShards:
    """Collects the labels of images, in their order, into shards below `save_path`."""

    def __init__(self, save_path: Path) -> None:
        self._save_path = save_path
        self._task: Task | None = None
        self._writers: dict[str, tuple[ShardWriter, set[str]]] = {}  # by expert; and the keys it had before

    def add(self, item: Item, labels: Mapping[str, bytes]) -> None:
        """Adds the labels of an image by expert; an image that failed has none."""
        if item.task is not self._task:
            self.close()
            self._task = item.task
            if item.task.names is None:
                self.start(item.task)
        key = item.label.removeprefix(f"{item.folder}/") if item.folder else item.label
        for expert, content in labels.items():
            if expert not in self._writers:
                self._copy(expert, item.task)
            writer, keys = self._writers[expert]
            if key not in keys:
                writer.add(key + PACKED, content)

    def start(self, task: Task) -> None:
        """Starts the empty shards of a task."""
        for expert in task.experts:
            self._writers[expert] = ShardWriter(label_shard(self._save_path, expert, task.image.label)), set()

    def _copy(self, expert: str, task: Task) -> None:
        """Starts a shard with the records of the one that it replaces."""
        tar = label_shard(self._save_path, expert, task.image.label)
        index, content = index_of(tar), tar.read_bytes()
        writer, keys = self._writers[expert] = ShardWriter(tar), set()
        for name, start, size in zip(index.names, index.offsets.tolist(), index.sizes.tolist(), strict=True):
            if len(record := content[start : start + size]) == size:  # the last one may be truncated
                writer.add(name, record)
                keys.add(key_of(name))

    def close(self) -> None:
        """Finishes the shards."""
        for writer, _ in self._writers.values():
            writer.close()
        self._writers, self._task = {}, None

    def discard(self) -> None:
        """Removes unfinished shards."""
        for writer, _ in self._writers.values():
            writer.discard()


def cannot_write(save_path: Path, error: OSError) -> UserError:
    """The error to tell a user, with its remedy."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "free some space and start again, finished labels are kept" if full else "choose another label folder"
    return UserError(f"cannot write labels below {save_path}: {error.strerror}; {remedy}")
