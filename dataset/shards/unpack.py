"""The way back: shards of images and labels as folders of files; files that are there are kept."""

import io
import json
import os
from contextlib import suppress
from functools import partial
from pathlib import Path

from common.errors import UserError, one_line
from common.files import check_dataset, leads_out, write_bytes
from common.overwrite import Outputs
from common.workers import parallel_map
from dataset.image_list import check_data_path
from dataset.label_files import PACKED, unpack_label
from dataset.shards.pack import Packed, check_apart, copy_files, lists_to_copy, manifest_to_copy, records_of
from dataset.shards.shard_folder import ShardFolder, open_folder
from model.modalities import MODALITIES, modality

_DAMAGED = (OSError, SyntaxError, ValueError)  # errors of a file that cannot be read; Pillow raises SyntaxError


def unpack(
    data_path: Path, label_path: Path, out: Path, *, dataset: str = "", num_workers: int = 0, overwrite: bool = False
) -> list[Packed]:
    """Writes `<out>/<dataset>/<image>` and `<out>/labels/<expert>/<dataset>/<image without suffix>.png`.

    Args:
        data_path, label_path, dataset, num_workers: see `pack`.
        out: for the files.
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
        folders["images"] = images, out / dataset
    for expert in MODALITIES:
        labels, target = open_folder(label_path / expert / dataset), out / "labels" / expert
        if isinstance(labels, ShardFolder):
            folders[expert] = labels, target / dataset
            copies |= manifest_to_copy(label_path / expert, target)
    if not folders:
        raise UserError(f"{data_path / dataset}: there are no shards, of images or labels")
    outputs = Outputs("dataset.shards", overwrite, "name another --out")
    for name, (files, target) in folders.items():
        for _ in parallel_map(partial(_check, files, target, name, outputs), range(len(files.shards)), num_workers):
            pass
    copy_files(copies, outputs)
    return [
        Packed(name).add_all(partial(_unpack, files, target, name, outputs), range(len(files.shards)), num_workers)
        for name, (files, target) in folders.items()
    ]


def _check(files: ShardFolder, target: Path, expert: str, outputs: Outputs, number: int) -> None:
    """Refuses a shard that would replace other files than its own, before anything is written."""
    for name in files.index(number).names:
        if leads_out(name, target):
            shard = f"{files}/{files.shards[number]}"
            raise UserError(f"{shard}: the name '{name}' leads out of the folder")
        path = target / name
        if os.path.lexists(path.with_suffix(".png") if path.suffix == PACKED else path):
            with suppress(*_DAMAGED):  # `_unpack` leaves a damaged one out
                contents = dict(_files(path, files.read(name, number), expert))
                outputs.check(contents, known=lambda path, contents=contents: path.read_bytes() == contents[path])


def _unpack(files: ShardFolder, target: Path, expert: str, outputs: Outputs, number: int) -> Packed:
    shard = f"{files}/{files.shards[number]}"
    records = records_of(files, number)
    result = Packed(shard, len(records))
    for names in records.values():
        for name in names:
            try:
                unpacked = _files(target / name, files.read(name, number), expert)
            except _DAMAGED as error:
                result.left_out[f"{shard}/{name}"] = one_line(error)
                continue
            for path, content in unpacked:
                outputs.check([path], known=lambda path, content=content: path.read_bytes() == content)
                if outputs.overwrite or not path.exists():
                    write_bytes(path, content)
                result.bytes += len(content)
        result.records -= all(f"{shard}/{name}" in result.left_out for name in names)
    return result


def _files(path: Path, content: bytes, expert: str) -> list[tuple[Path, bytes]]:
    """The files that a member of a shard becomes: itself, or a packed label's PNG and sidecar."""
    if expert == "images" or path.suffix != PACKED:
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
