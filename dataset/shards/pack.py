"""Packs a folder of images, and the labels of it, into aligned shards; finished ones are kept."""

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
from dataset.labels import MANIFEST, LabelReader, read_instances, read_picture, sidecars
from dataset.packed_labels import SUFFIX as PACKED
from dataset.packed_labels import pack_label
from dataset.shards.layout import Shard, plan_shards
from dataset.shards.shard_folder import LIST
from dataset.shards.tar_index import index_of, keys
from dataset.shards.writer import check_list, is_shard_of_ours, write_list, write_shard
from dataset.word_labels import read_words, words_as_json
from model.modalities import MODALITIES, Kind, Modality, modality

Form = Literal["packed", "png"]
_LISTS = (".json", ".jsonl", ".csv")


@dataclass
class Packed:
    """What became of one set: the images, or an expert's labels.

    Attributes:
        name: `images`, or the expert.
        records: in its shards.
        kept: shards that were there.
        bytes: of all its shards.
        left_out: reason by file that could not be packed.
    """

    name: str
    records: int = 0
    kept: int = 0
    bytes: int = 0
    left_out: dict[str, str] = field(default_factory=dict)


def pack(
    data_path: Path,
    label_path: Path,
    out: Path,
    *,
    dataset: str = "",
    experts: Sequence[str] | None = None,
    form: Form = "packed",
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
        experts: whose labels; None: all that there are.
        form: of the labels.
        shard_size: records of a shard.
        num_workers: processes; 0 does it in this one.
        overwrite: replace files in `out` that this did not write.

    Raises:
        UserError: something is missing, or `out` holds shards of something else or files of another.
    """
    check_dataset(dataset)
    images = check_data_path(data_path) / dataset
    shards, packed_before = plan_shards(images, label_path, shard_size)
    if experts is None:
        experts = [name for name in MODALITIES if (label_path / name).is_dir()]
    readers = {expert: LabelReader(label_path, [expert]) for expert in experts}
    for expert, reader in readers.items():
        reader.open_folder(dataset)
        check_apart(label_path / expert, out / "labels" / expert)
    copies = {label_path / expert / MANIFEST: out / "labels" / expert / MANIFEST for expert in experts}
    copies = {source: target for source, target in copies.items() if source.is_file()}
    for source, target in copies.items():
        check_settings(source, target)
    outputs = Outputs("dataset.shards", overwrite, "name another --out")
    if not packed_before:
        check_apart(data_path, out)
        copies |= lists_to_copy(data_path, out)
        if dataset:
            copies |= lists_to_copy(images, out / dataset)
    targets = {expert: out / "labels" / expert / dataset for expert in experts}
    for folder in [*targets.values(), *([] if packed_before else [out / dataset])]:
        check_list(folder, overwrite)
    copy_files(copies, outputs)
    results = []
    if not packed_before:
        job = partial(_pack_images, images, out / dataset)
        results.append(_run("images", job, shards, out / dataset, num_workers, overwrite))
    for expert, reader in readers.items():
        job = partial(_pack_labels, reader, modality(expert), dataset, form, targets[expert], outputs)
        results.append(_run(expert, job, shards, targets[expert], num_workers, overwrite))
    return results


def check_apart(source: Path, target: Path) -> None:
    """Refuses a folder that both forms would lie in, or a file in its place."""
    if target.exists() and not target.is_dir():
        raise UserError(f"{target}: is a file; choose another --out")
    if source.resolve() == target.resolve():
        raise UserError(f"{target}: files and shards of them cannot lie in one folder; choose another --out")


def _run(
    name: str,
    job: Callable[[Shard], Packed],
    shards: Sequence[Shard],
    folder: Path,
    num_workers: int,
    overwrite: bool,
) -> Packed:
    _check_folder(folder, shards, may_grow=name != "images")
    result = Packed(name)
    for part in progress_bar(parallel_map(job, shards, num_workers), desc=name, total=len(shards), unit="shard"):
        result.records += part.records
        result.kept += part.kept
        result.bytes += part.bytes
        result.left_out |= part.left_out
    if write_list(folder, overwrite=overwrite) != result.records:
        raise UserError(f"{folder}: holds other shards as well; delete them or choose another folder")
    return result


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


def _pack_images(images: Path, folder: Path, shard: Shard) -> Packed:
    names = [name for record in shard.records.values() for name in record]
    return _write(folder / shard.name, shard, ((name, (images / name).read_bytes()) for name in names), names)


def _pack_labels(
    reader: LabelReader,
    entry: Modality,
    dataset: str,
    form: Form,
    folder: Path,
    outputs: Outputs,
    shard: Shard,
) -> Packed:
    left_out: dict[str, str] = {}
    tar = folder / shard.name
    pngs = {}
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

    part = _write(tar, shard, contents(), [f"{key}.png" for key in pngs], outputs)
    part.left_out = left_out
    return part


def _label(entry: Modality, key: str, path: Path, form: Form) -> list[tuple[str, bytes]]:
    """The members of a tar that a label becomes."""
    beside = next((file for file in sidecars(path, entry) if file.is_file()), None)
    content = path.read_bytes()
    if form == "png":
        files = [path] if beside is None else [path, beside]
        return [(f"{key}{file.suffix}", file.read_bytes()) for file in files]
    if not content:
        return [(f"{key}{PACKED}", b"")]
    # Through the training's reader, which says what is wrong with a label.
    picture, _ = read_picture(entry, path)
    sidecar = None
    if entry.kind is Kind.INSTANCE:
        sidecar = {str(number): index for number, index in read_instances(beside or path).items()}
    elif entry.kind is Kind.WORDS:
        sidecar = words_as_json(read_words(beside or path))
    return [(f"{key}{PACKED}", pack_label(picture, sidecar))]


def _write(
    tar: Path,
    shard: Shard,
    files: Iterable[tuple[str, bytes]],
    names: Sequence[str],
    outputs: Outputs | None = None,
) -> Packed:
    """Writes a shard unless it is there with these keys, and checks what was written.

    Args:
        tar: its path.
        shard: what it is to hold.
        files: names and contents of its members.
        names: theirs, before anything is read.
        outputs: what writes it anew if it is there with fewer of the shard's records; None: nothing does.
    """
    wanted = keys(names)
    if tar.exists():
        there = keys(index_of(tar).names)
        if there == wanted:
            return Packed(tar.name, len(there), kept=1, bytes=tar.stat().st_size)
        if outputs is None or not shard.records.keys() >= set(there):
            raise UserError(f"{tar}: holds other records; delete it or choose another folder")
        outputs.check([tar], known=is_shard_of_ours)
    written = keys(write_shard(tar, files).names)
    if not set(written) <= set(wanted):
        raise UserError(f"{tar}: holds records that were not asked for; is the folder being changed?")
    return Packed(tar.name, len(written), bytes=tar.stat().st_size)


def lists_to_copy(source: Path, target: Path) -> dict[Path, Path]:
    """The lists that lie in a folder, but for those beside an image of their name, and where they go."""
    return {
        path: target / path.name
        for path in source.iterdir()
        if path.suffix.lower() in _LISTS
        and path.is_file()
        and path.name != LIST
        and not any(path.parent.glob(f"{path.stem}.[jJpPbBwWtT]*[gGpPfF]"))
    }


def copy_files(copies: Mapping[Path, Path], outputs: Outputs) -> None:
    """Copies files, from the key's path to the value's; settings of labels must have been compared."""
    contents = {target: source.read_bytes() for source, target in copies.items()}
    outputs.check(contents, known=lambda path: path.name == MANIFEST or path.read_bytes() == contents[path])
    for path, content in contents.items():
        with outputs.writing(path):
            write_bytes(path, content)


def check_settings(source: Path, target: Path) -> None:
    """Refuses to mix labels of different settings, by the manifests where they lie and where they go."""
    if target.is_file() and _settings(target) != _settings(source):
        raise UserError(f"{target.parent}: its labels were made with other settings than {source.parent}'s")


def _settings(manifest: Path) -> dict:
    try:
        content = parse_json(manifest.read_bytes())
    except ValueError:
        content = None
    keys = ("backend", "options", "precision")
    return {key: content.get(key) for key in keys} if isinstance(content, dict) else {}
