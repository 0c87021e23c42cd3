"""Packs a folder of images, and its labels, into aligned shards; finished ones are kept."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from common.errors import UserError, one_line
from common.files import check_dataset, remove_leftovers, write_bytes
from common.overwrite import Outputs
from common.progress import progress_bar
from common.strict_json import parse_json
from common.workers import parallel_map
from dataset.image_list import check_data_path
from dataset.images import list_images
from dataset.label_files import PACKED, pack_label, read_instances, read_picture, read_words, sidecars, words_as_json
from dataset.labels import MANIFEST, LabelReader
from dataset.samples import open_images
from dataset.shards.shard_folder import LIST, ShardFolder
from dataset.shards.tar_index import index_of, keys
from dataset.shards.writer import check_list, is_shard_of_ours, write_list, write_shard
from dataset.string_array import key_of
from model.modalities import MODALITIES, Kind, Modality, modality

_LISTS = (".json", ".jsonl", ".csv")
_BESIDE = (".txt", ".json")  # of an image, as img2dataset writes them


@dataclass(frozen=True)
class Shard:
    """A shard to be written: the files of each of its records, by key."""

    name: str
    records: dict[str, list[str]]


@dataclass
class Packed:
    """A set of shards that was packed or unpacked: the images, or an expert's labels.

    Attributes:
        name: `images`, or the expert.
        records: in its shards.
        kept: shards that were there before.
        bytes: of all its shards.
        left_out: reason by file that could not be packed.
    """

    name: str
    records: int = 0
    kept: int = 0
    bytes: int = 0
    left_out: dict[str, str] = field(default_factory=dict)

    def add_all(self, job: Callable, items: Sequence, num_workers: int) -> "Packed":
        """Adds up a job's results on each item, with a progress bar."""
        results = parallel_map(job, items, num_workers)
        for part in progress_bar(results, desc=self.name, total=len(items), unit="shard"):
            self.records += part.records
            self.kept += part.kept
            self.bytes += part.bytes
            self.left_out |= part.left_out
        return self


def pack(
    data_path: Path,
    label_path: Path,
    out: Path,
    *,
    dataset: str = "",
    experts: Sequence[str] | None = None,
    form: Literal["packed", "png"] = "packed",
    shard_size: int = 1000,
    num_workers: int = 0,
    overwrite: bool = False,
) -> list[Packed]:
    """Writes `<out>/<dataset>/NNNNN.tar` and `<out>/labels/<expert>/<dataset>/NNNNN.tar`, and copies lists.

    Images that are packed already stay where they are; their labels get the same shards.

    Args:
        data_path: the folder that holds the data set's folder, and its lists.
        label_path: the label folder.
        out: for the shards: then `data_path`, with `labels` in it.
        dataset: the data set's folder; empty: `data_path` itself.
        experts: whose labels; None: all that have a folder.
        form: of the labels.
        shard_size: records of a shard.
        num_workers: processes; 0 does it in this one.
        overwrite: replace files in `out` that this did not write.

    Raises:
        UserError: something is missing, or `out` holds shards of something else or files of another.
    """
    check_dataset(dataset)
    images = check_data_path(data_path) / dataset
    files = open_images(images)
    packed_before = isinstance(files, ShardFolder)
    if packed_before:
        shards = [Shard(name, records_of(files, number)) for number, name in enumerate(files.shards)]
    else:
        shards = _plan(images, list_images(images, label_path), shard_size)
    if experts is None:
        experts = [name for name in MODALITIES if (label_path / name).is_dir()]
    readers = {expert: LabelReader(label_path, [expert]) for expert in experts}
    copies = {}
    for expert, reader in readers.items():
        reader.open_folder(dataset)
        source, target = label_path / expert, out / "labels" / expert
        check_apart(source, target)
        copies |= manifest_to_copy(source, target)
    outputs = Outputs("dataset.shards", overwrite, "name another --out")
    targets = {expert: out / "labels" / expert / dataset for expert in experts}
    if not packed_before:
        check_apart(data_path, out)
        copies |= lists_to_copy(data_path, out)
        if dataset:
            copies |= lists_to_copy(images, out / dataset)
        targets = {"images": out / dataset, **targets}
    for name, folder in targets.items():
        check_list(folder, overwrite)
        _check_folder(folder, shards, may_grow=name != "images")
    copy_files(copies, outputs)
    results = []
    for name, folder in targets.items():
        if name == "images":
            job = partial(_pack_images, images, folder, outputs)
        else:
            job = partial(_pack_labels, readers[name], modality(name), dataset, form, folder, outputs)
        results.append(Packed(name).add_all(job, shards, num_workers))
        write_list(folder, overwrite=overwrite)
    return results


def _plan(images: Path, names: list[str], size: int) -> list[Shard]:
    def record(name: str) -> list[str]:
        key = key_of(name)
        return [name, *(key + suffix for suffix in _BESIDE if os.path.isfile(f"{images}/{key}{suffix}"))]

    chunks = [names[start : start + size] for start in range(0, len(names), size)]
    return [
        Shard(f"{number:05d}.tar", {key_of(name): record(name) for name in chunk})
        for number, chunk in enumerate(chunks)
    ]


def records_of(files: ShardFolder, number: int) -> dict[str, list[str]]:
    """The files of each record of a shard, by key, in the tar's order."""
    found: dict[str, list[str]] = {}
    for name in files.index(number).names:
        found.setdefault(key_of(name), []).append(name)
    return found


def _check_folder(folder: Path, shards: Sequence[Shard], may_grow: bool) -> None:
    """Refuses shards of something else before anything is written beside them."""
    remove_leftovers(folder)
    wanted = {shard.name: shard.records.keys() for shard in shards}
    for tar in sorted(folder.glob("*.tar")):
        there = set(keys(index_of(tar).names))
        if tar.name not in wanted:
            raise UserError(f"{tar}: is not one of these shards; delete it or choose another folder")
        if not (wanted[tar.name] >= there if may_grow else wanted[tar.name] == there):
            raise UserError(f"{tar}: holds other records; delete it or choose another folder")


def _pack_images(images: Path, folder: Path, outputs: Outputs, shard: Shard) -> Packed:
    names = [name for record in shard.records.values() for name in record]
    return _write(folder / shard.name, ((name, (images / name).read_bytes()) for name in names), names, outputs)


def _pack_labels(
    reader: LabelReader, entry: Modality, dataset: str, form: str, folder: Path, outputs: Outputs, shard: Shard
) -> Packed:
    left_out: dict[str, str] = {}
    tar, pngs = folder / shard.name, {}
    for key in shard.records:
        path = reader.path(entry, f"{dataset}/{key}" if dataset else key, shard.name)
        if path.is_file():
            pngs[key] = path
        elif not reader.may_lack(entry):
            left_out[str(path)] = "missing"
    if tar.exists():
        suffix = PACKED if form == "packed" else ".png"
        names = index_of(tar).names
        if len(names) and not any(name.endswith(suffix) for name in names):
            raise UserError(f"{tar}: its labels have another form than '{form}'; choose another folder")

    def contents() -> Iterator[tuple[str, bytes]]:
        for key, path in pngs.items():
            try:
                yield from _label(entry, key, path, form)
            except (OSError, UserError) as error:
                left_out[str(path)] = one_line(error)

    part = _write(tar, contents(), [f"{key}.png" for key in pngs], outputs)
    part.left_out = left_out
    return part


def _label(entry: Modality, key: str, path: Path, form: str) -> list[tuple[str, bytes]]:
    """The members of a tar that a label becomes."""
    beside = next((file for file in sidecars(path, entry) if file.is_file()), None)
    content = path.read_bytes()
    if form == "png":
        files = [path] if beside is None else [path, beside]
        return [(f"{key}{file.suffix}", file.read_bytes()) for file in files]
    if not content:
        return [(f"{key}{PACKED}", b"")]
    # The reader of the training names the damage of a label.
    picture, _ = read_picture(entry, path)
    sidecar = None
    if entry.kind is Kind.INSTANCE:
        sidecar = {str(number): index for number, index in read_instances(beside or path).items()}
    elif entry.kind is Kind.WORDS:
        sidecar = words_as_json(read_words(beside or path))
    return [(f"{key}{PACKED}", pack_label(picture, sidecar))]


def _write(tar: Path, files: Iterable[tuple[str, bytes]], names: Sequence[str], outputs: Outputs) -> Packed:
    """Writes a shard of these files unless it has their keys already, and checks the keys of the result."""
    wanted = set(keys(names))
    if tar.exists():
        there = keys(index_of(tar).names)
        if set(there) == wanted:
            return Packed(tar.name, len(there), kept=1, bytes=tar.stat().st_size)
        outputs.check([tar], known=is_shard_of_ours)
    written = keys(write_shard(tar, files).names)
    if not wanted.issuperset(written):
        raise UserError(f"{tar}: holds records that were not asked for; is the folder being changed?")
    return Packed(tar.name, len(written), bytes=tar.stat().st_size)


def check_apart(source: Path, target: Path) -> None:
    """Refuses to put files and shards of them into one folder, and a file in the folder's place."""
    if target.exists() and not target.is_dir():
        raise UserError(f"{target}: is a file; choose another --out")
    if source.resolve() == target.resolve():
        raise UserError(f"{target}: files and shards of them cannot lie in one folder; choose another --out")


def lists_to_copy(source: Path, target: Path) -> dict[Path, Path]:
    """Each list in a folder, except files beside an image of their name, with the path of its copy."""
    return {
        path: target / path.name
        for path in source.iterdir()
        if path.suffix.lower() in _LISTS
        and path.is_file()
        and path.name != LIST
        and not any(path.parent.glob(f"{path.stem}.[jJpPbBwWtT]*[gGpPfF]"))
    }


def manifest_to_copy(source: Path, target: Path) -> dict[Path, Path]:
    """The manifest of an expert's labels, if there is one, with the path of its copy.

    Raises:
        UserError: the labels at the target were made with other settings.
    """
    manifest, copy = source / MANIFEST, target / MANIFEST
    if not manifest.is_file():
        return {}
    if copy.is_file() and _settings(copy) != _settings(manifest):
        raise UserError(f"{target}: its labels were made with other settings than {source}'s")
    return {manifest: copy}


def _settings(manifest: Path) -> dict:
    try:
        content = parse_json(manifest.read_bytes())
    except ValueError:
        content = None
    keys = ("backend", "options", "precision")
    return {key: content.get(key) for key in keys} if isinstance(content, dict) else {}


def copy_files(copies: Mapping[Path, Path], outputs: Outputs) -> None:
    """Copies files, from the key's path to the value's; `manifest_to_copy` has compared manifests."""
    contents = {target: source.read_bytes() for source, target in copies.items()}
    outputs.check(contents, known=lambda path: path.name == MANIFEST or path.read_bytes() == contents[path])
    for path, content in contents.items():
        with outputs.writing(path):
            write_bytes(path, content)
