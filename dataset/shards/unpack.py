"""The way back: shards of images and labels as folders of files; what is there is kept."""

import io
import json
import os
from contextlib import suppress
from functools import partial
from pathlib import Path

from common.errors import UserError, one_line
from common.files import check_dataset, leads_out, write_bytes
from common.overwrite import Outputs
from common.progress import progress_bar
from common.workers import parallel_map
from dataset.image_list import check_data_path
from dataset.packed_labels import SUFFIX as PACKED
from dataset.packed_labels import unpack_label
from dataset.shards.layout import records_of
from dataset.shards.pack import (
    MANIFEST,
    Packed,
    check_apart,
    check_settings,
    copy_files,
    lists_to_copy,
)
from dataset.shards.shard_folder import ShardFolder, open_folder
from model.modalities import MODALITIES, modality


def unpack(
    data_path: Path,
    label_path: Path,
    out: Path,
    *,
    dataset: str = "",
    num_workers: int = 0,
    overwrite: bool = False,
) -> list[Packed]:
    """Writes `<out>/<dataset>/<image>` and `<out>/labels/<expert>/<dataset>/<image without suffix>.png`.

    Args:
        data_path: the folder that holds the data set's folder of shards, and its lists.
        label_path: the label folder.
        out: for the files.
        dataset: the data set's folder; empty: `data_path` itself.
        num_workers: processes; 0 does it in this one.
        overwrite: replace files in `out` that have another content than those in the shards.

    Raises:
        UserError: there are no shards, or one whose index cannot be read, or `out` has other files.
    """
    check_dataset(dataset)
    check_apart(check_data_path(data_path), out)
    copies, folders = lists_to_copy(data_path, out), {}
    if isinstance(images := open_folder(data_path / dataset), ShardFolder):
        if dataset:
            copies |= lists_to_copy(data_path / dataset, out / dataset)
        folders[None] = images, out / dataset
    for expert in MODALITIES:
        labels, target = open_folder(label_path / expert / dataset), out / "labels" / expert
        if isinstance(labels, ShardFolder):
            folders[expert] = labels, target / dataset
            if (manifest := label_path / expert / MANIFEST).is_file():
                check_settings(manifest, target / MANIFEST)
                copies[manifest] = target / MANIFEST
    if not folders:
        raise UserError(f"{data_path / dataset}: there are no shards, of images or labels")
    outputs = Outputs("dataset.shards", overwrite, "name another --out")
    for expert, (files, target) in folders.items():
        for _ in parallel_map(partial(_check, files, target, expert, outputs), range(len(files.shards)), num_workers):
            pass
    copy_files(copies, outputs)
    return [_run(expert, *places, outputs, num_workers) for expert, places in folders.items()]


def _run(expert: str | None, files: ShardFolder, target: Path, outputs: Outputs, num_workers: int) -> Packed:
    name = expert or "images"
    result = Packed(name)
    job = partial(_unpack, files, target, expert, outputs)
    numbers = range(len(files.shards))
    for part in progress_bar(parallel_map(job, numbers, num_workers), desc=name, total=len(numbers), unit="shard"):
        result.records += part.records
        result.bytes += part.bytes
        result.left_out |= part.left_out
    return result


def _check(files: ShardFolder, target: Path, expert: str | None, outputs: Outputs, number: int) -> None:
    """Refuses a shard that would replace other files than its own, before anything is written."""
    for name in files.index(number).names:
        if leads_out(name, target):
            shard = f"{files}/{files.shards[number]}"
            raise UserError(f"{shard}: the name '{name}' leads out of the folder")
        path = target / name
        if os.path.lexists(path.with_suffix(".png") if path.suffix == PACKED else path):
            with suppress(OSError, SyntaxError, ValueError):  # a damaged one is left out
                contents = dict(_files(path, files.read(name, number), expert))
                outputs.check(contents, known=lambda path, contents=contents: path.read_bytes() == contents[path])


def _unpack(files: ShardFolder, target: Path, expert: str | None, outputs: Outputs, number: int) -> Packed:
    """Unpacks a shard, but for what is damaged."""
    shard = f"{files}/{files.shards[number]}"
    records = records_of(files, number)
    result = Packed(shard, len(records))
    for names in records.values():
        for name in names:
            try:
                unpacked = _files(target / name, files.read(name, number), expert)
            except (OSError, SyntaxError, ValueError) as error:
                result.left_out[f"{shard}/{name}"] = one_line(error)
                continue
            for path, content in unpacked:
                outputs.check([path], known=lambda path, content=content: path.read_bytes() == content)
                if outputs.overwrite or not path.exists():
                    write_bytes(path, content)
                result.bytes += len(content)
        result.records -= all(f"{shard}/{name}" in result.left_out for name in names)
    return result


def _files(path: Path, content: bytes, expert: str | None) -> list[tuple[Path, bytes]]:
    """What a member of a shard becomes: itself, or of a packed label the PNG and what stands beside it."""
    if expert is None or path.suffix != PACKED:
        return [(path, content)]
    entry = modality(expert)
    picture, sidecar = unpack_label(content, entry.channels)
    png = io.BytesIO()
    found = []
    if picture is not None:
        picture.save(png, "PNG", compress_level=3)
        if sidecar is not None:
            found.append((path.with_suffix(entry.sidecars[0]), json.dumps(sidecar).encode()))
    return [*found, (path.with_suffix(".png"), png.getvalue())]
