"""Labels as files: a PNG per image and modality, and a JSON sidecar for instances and words.

`<save_path>/<expert>/<image path without suffix>.png`. A label without a map is a PNG of zero bytes,
which reads as "nothing here". The PNG comes last, so where there is one its label is finished.
"""

import io
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from PIL import Image

from common.files import write_bytes
from dataset.label_files import pack_label, words_as_json
from dataset.label_manifest import MANIFEST
from dataset.shards.shard_folder import LIST
from dataset.shards.tar_index import SUFFIX as INDEX
from dataset.shards.tar_index import index_of
from experts.base import Label
from model.modalities import modality

_COMPRESSION = 3  # of PNG, 0..9; of normals, 6 takes more than twice the time and saves a sixth


def label_png(save_path: Path, expert: str, label: str) -> Path:
    """The PNG of an image's label; not `with_suffix`, since names may hold dots."""
    return save_path / expert / f"{label}.png"


def label_shard(save_path: Path, expert: str, shard: str) -> Path:
    """The tar of the labels of a shard of images."""
    return save_path / expert / f"{shard}.tar"


def packed_label(label: Label) -> bytes:
    """A label as a record of a shard (`dataset.label_files`)."""
    picture = None if label.map is None else Image.fromarray(label.map)
    return pack_label(picture, _sidecar(label))


def write_label(save_path: Path, expert: str, name: str, label: Label) -> None:
    """Writes one label, each of its files whole or not at all."""
    content = _sidecar(label)
    for index, sidecar in enumerate(sidecars(save_path, expert, name)):
        if index == 0 and content is not None:
            write_bytes(sidecar, json.dumps(content).encode())
        else:
            sidecar.unlink(missing_ok=True)  # of an earlier label that this one replaces
    buffer = io.BytesIO()
    if label.map is not None:
        Image.fromarray(label.map).save(buffer, format="PNG", compress_level=_COMPRESSION)
    write_bytes(label_png(save_path, expert, name), buffer.getvalue())


def remove_label(save_path: Path, expert: str, name: str) -> None:
    """Removes one label, if it is there; the PNG first, so that nothing looks finished that is not."""
    shard = label_shard(save_path, expert, name)
    packed = (shard, shard.with_name(shard.name + INDEX))
    for path in (label_png(save_path, expert, name), *sidecars(save_path, expert, name), *packed):
        path.unlink(missing_ok=True)


def stored_labels(folder: Path) -> Iterator[str]:
    """The labels in an expert's folder, and its shards of labels, as paths below it without suffix."""
    for parent, _, names in os.walk(folder):
        below = os.path.relpath(parent, folder).replace(os.sep, "/")
        start = "" if below == "." else f"{below}/"
        yield from (start + name[:-4] for name in names if name.endswith((".png", ".tar")))


def stored_keys(save_path: Path, expert: str, shard: str) -> set[str]:
    """The keys of the labels in a shard of them."""
    names = index_of(label_shard(save_path, expert, shard)).names
    return {name.rpartition(".")[0] for name in names}


def remove_if_empty(folder: Path) -> None:
    """Removes what a run made in an expert's folder, if there is no label in it: it says nothing."""
    if not (folder / MANIFEST).is_file() or has_labels(folder):
        return
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            if name in (MANIFEST, LIST) or name.endswith((".tar", f".tar{INDEX}")):
                os.unlink(os.path.join(parent, name))
        with suppress(OSError):  # other files may be there
            os.rmdir(parent)


def has_labels(folder: Path) -> bool:
    """Whether there is any label in an expert's folder."""
    return any(
        name.endswith(".png") or (name.endswith(".tar") and len(index_of(Path(parent, name)).names))
        for parent, _, names in os.walk(folder)
        for name in names
    )


def is_sidecar(path: Path) -> bool:
    """Whether this is a sidecar as `write_label` writes it; a killed run leaves it without the PNG."""
    try:
        return all(map(str.isdecimal, json.loads(path.read_bytes()).keys()))
    except (ValueError, AttributeError, RecursionError):
        return False


def sidecars(save_path: Path, expert: str, name: str) -> list[Path]:
    """Where a label's sidecar may lie, the format that is written first."""
    png = label_png(save_path, expert, name)
    return [png.with_name(png.name.removesuffix(".png") + suffix) for suffix in modality(expert).sidecars]


def _sidecar(label: Label) -> dict | None:
    if label.instances is not None:
        return {str(key): value for key, value in label.instances.items()}
    if label.words:
        return words_as_json(label.words)
    return None
