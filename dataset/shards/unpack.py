"""The way back: shards of images and labels as folders of files; what is there is kept."""

import io
import json
import shutil
from functools import partial
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from dataset.files import write_atomically, write_bytes
from dataset.image_list import check_data_path
from dataset.packed_labels import SUFFIX as PACKED
from dataset.packed_labels import unpack_label
from dataset.shards.folder import ShardFolder, open_folder
from dataset.shards.pack import MANIFEST, Packed, check_apart, copy_lists
from dataset.shards.plan import records_of
from dataset.shards.write import spread
from model.errors import UserError, one_line
from model.modalities import MODALITIES, modality


def unpack(
    data_path: Path, label_path: Path, out: Path, *, dataset: str = "", num_workers: int = 0
) -> list[Packed]:
    """Writes `<out>/<dataset>/<image>` and `<out>/labels/<expert>/<dataset>/<image without suffix>.png`.

    Args:
        data_path: the folder that holds the data set's folder of shards, and its lists.
        label_path: the label folder.
        out: for the files.
        dataset: the data set's folder; empty: `data_path` itself.
        num_workers: processes; 0 does it in this one.

    Raises:
        UserError: there are no shards, or one whose index cannot be read.
    """
    check_apart(check_data_path(data_path), out)
    copy_lists(data_path, out)
    results = []
    if isinstance(images := open_folder(data_path / dataset), ShardFolder):
        if dataset:
            copy_lists(data_path / dataset, out / dataset)
        results.append(_run("images", images, out / dataset, None, num_workers))
    for expert in MODALITIES:
        labels = open_folder(label_path / expert / dataset)
        if not isinstance(labels, ShardFolder):
            continue
        target = out / "labels" / expert
        if (manifest := label_path / expert / MANIFEST).is_file():
            write_atomically(target / MANIFEST, lambda name, path=manifest: shutil.copyfile(path, name))
        results.append(_run(expert, labels, target / dataset, expert, num_workers))
    if not results:
        raise UserError(f"{data_path / dataset}: there are no shards, of images or labels")
    return results


def _run(name: str, files: ShardFolder, target: Path, expert: str | None, num_workers: int) -> Packed:
    result = Packed(name)
    job = partial(_unpack, files, target, expert)
    numbers = range(len(files.shards))
    for part in tqdm(spread(job, numbers, num_workers), desc=name, total=len(numbers), unit="shard"):
        result.records += part.records
        result.bytes += part.bytes
        result.left_out |= part.left_out
    return result


def _unpack(files: ShardFolder, target: Path, expert: str | None, number: int) -> Packed:
    """Unpacks a shard, but for what is damaged."""
    shard = f"{files}/{files.shards[number]}"
    records = records_of(files, number)
    result = Packed(shard, len(records))
    for names in records.values():
        for name in names:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise UserError(f"{shard}: the name '{name}' leads out of the folder")
            try:
                unpacked = _files(target / name, files.read(name, number), expert)
            except (OSError, SyntaxError, ValueError) as error:
                result.left_out[f"{shard}/{name}"] = one_line(error)
                continue
            for path, content in unpacked:
                if not path.exists() or path.read_bytes() != content:
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
