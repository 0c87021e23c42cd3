"""What a run has to do: which labels are missing, and whether those that are there go with the new ones.

Labels in a folder are at any moment of the settings in its manifest. A run with other settings is refused,
or, to overwrite them, first removes the old labels, then replaces the manifest, then makes new labels; so
there is no moment at which it may not be killed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from common.errors import UserError
from common.files import remove_leftovers
from common.overwrite import Outputs
from common.pickles import fetch_command
from dataset.label_manifest import (
    MANIFEST,
    Manifest,
    differences,
    hashed,
    new_manifest,
    read_manifest,
    write_manifest,
)
from dataset.shards.shard_folder import ShardFolder
from dataset.shards.tar_index import key_of
from experts.dataset_images import ImageFile
from experts.label_writer import is_sidecar, remove_label, sidecars, stored_keys, stored_labels
from experts.registry import ExpertJob


class Task(NamedTuple):
    """An image, or a shard of them, and the experts whose label it lacks.

    Attributes:
        image: the image or the shard.
        experts: the experts.
        names: of a shard's images those that lack a label; None: all of them.
    """

    image: ImageFile
    experts: tuple[str, ...]
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Plan:
    """What a run has to do.

    Attributes:
        images: images found.
        tasks: what is missing, for each pass.
        notes: what the user should know, a line each.
    """

    images: int
    tasks: list[list[Task]]
    notes: list[str]


def make_plan(
    images: Sequence[ImageFile],
    work: Sequence[ExpertJob],
    save_path: Path,
    *,
    weights: Path,
    precision: str,
    device: str,
    overwrite: bool,
    packed: Mapping[str, ShardFolder] | None = None,
) -> Plan:
    """Compares what is asked for with what is there, and makes the label folder ready.

    Args:
        images: all images of the run.
        work: its passes.
        save_path: the label folder.
        weights: folder of the released weight files.
        precision: `fp32`, `bf16` or `fp16`.
        device: its kind, for the manifest.
        overwrite: make labels that are there already again.
        packed: the shards of each data set that is packed, by their labels' folder.

    Raises:
        UserError: a file of weights is missing, or there are labels made with other settings. Then nothing
            was changed.
    """
    alike = next((image for image in images if f"{image.label}.json" == MANIFEST), None)
    if alike is not None:
        raise UserError(f"image {alike.path}: its labels would be named like {MANIFEST}; rename it")
    remove_leftovers(save_path)
    outputs = Outputs("experts/generate.py", overwrite, "choose another save_path")
    found = [missing_labels(images, each.modalities, save_path, packed, outputs) for each in work]
    tasks = [[Task(image, each.modalities) for image in images] for each in work] if overwrite else found
    scope = {image.label for image in images} if overwrite else set()
    changes: dict[Path, tuple[Manifest | None, Manifest]] = {}
    notes = []
    for each, todo in zip(work, tasks, strict=True):
        manifests = {expert: read_manifest(save_path / expert) for expert in each.modalities}
        files = _weight_files(each, weights, needed=bool(todo))
        hashes = hashed(files or [], [file for old in manifests.values() if old for file in old.weights])
        for expert, old in manifests.items():
            folder = save_path / expert
            # Weights that are not there, and not needed, pass for the same.
            same = files is None and old is not None
            new = new_manifest(expert, each.backend, each.options, precision, old.weights if same else hashes, device)
            others = []
            if overwrite or old is None:
                others = [label for label in stored_labels(folder) if label not in scope]
            _check(folder, old, new, overwrite, others)
            if old is None and others:
                notes.append(f"{folder}: kept {len(others)} labels without {MANIFEST}, made elsewhere")
            if any(expert in task.experts for task in todo):
                changes[folder] = old, _merged(old, new, overwrite, len(others))
    for folder, (old, new) in changes.items():
        if overwrite:
            for label in scope:
                remove_label(save_path, folder.name, label)
        if new != old:
            write_manifest(folder, new)
    return Plan(len(images), tasks, notes)


def missing_labels(
    images: Sequence[ImageFile],
    experts: Sequence[str],
    save_path: Path,
    packed: Mapping[str, ShardFolder] | None = None,
    outputs: Outputs | None = None,
) -> list[Task]:
    """The labels that are not there; each folder is listed once, however many images it has.

    Args:
        images: whose labels.
        experts: which labels.
        save_path: the label folder.
        packed: see `make_plan`.
        outputs: refuses, if given, to replace sidecars without a label that no run of ours left.
    """
    for expert in experts:
        remove_leftovers(save_path / expert)  # of the manifest
    tasks = []
    for parent, group in groupby(sorted(images, key=_parent), key=_parent):
        names = {expert: set(remove_leftovers(save_path / expert / parent)) for expert in experts}
        for image in group:
            file = image.label_file.rpartition("/")[2]
            lacking = tuple(expert for expert in experts if file not in names[expert])
            if lacking:
                tasks.append(Task(image, lacking))
            if outputs is not None:
                for expert in lacking:
                    left = sidecars(save_path, expert, image.label)
                    outputs.check([path for path in left if path.name in names[expert]], known=is_sidecar)
            if image.packed:
                there = [expert for expert in experts if expert not in lacking]
                tasks += _missing_records(image, there, save_path, packed)
    return tasks


def _missing_records(
    shard: ImageFile, experts: Sequence[str], save_path: Path, packed: Mapping[str, ShardFolder]
) -> list[Task]:
    """The images of a shard for which its shards of labels, which are there, have none."""
    stored = [stored_keys(save_path, expert, shard.label) for expert in experts]
    if not stored:
        return []
    names = tuple(name for name in shard.in_shard(packed) if any(key_of(name) not in keys for keys in stored))
    return [Task(shard, tuple(experts), names)] if names else []


def _parent(image: ImageFile) -> str:
    return image.label.rpartition("/")[0]


def _weight_files(work: ExpertJob, weights: Path, needed: bool) -> list[Path] | None:
    """What a backend reads; None if it is not all there, which it must be only if it has work to do."""
    files = work.module.files(work.modalities, work.options, weights)
    for path in files:
        if not path.is_file():
            if needed:
                expert = " and ".join(work.modalities)
                raise UserError(
                    f"{path}: missing, and {work.backend} ({expert}) needs it; fetch it with: {fetch_command(path)}"
                )
            return None
    return files


def _check(folder: Path, old: Manifest | None, new: Manifest, overwrite: bool, others: list[str]) -> None:
    """Refuses to mix labels of different settings."""
    changed = differences(old, new) if old else []
    if not changed:
        return
    settings = "; ".join(changed)
    if not overwrite:
        raise UserError(
            f"{folder}: its labels were made with other settings ({settings}); make them anew with "
            "experts/generate.py --overwrite, or choose another save_path"
        )
    if others:
        raise UserError(
            f"{folder}: would mix labels of different settings ({settings}), since it holds labels of images "
            f"that are not in this run, such as {others[0]}; overwrite all of them in one run, delete those "
            "that are no longer needed, or choose another save_path"
        )


def _merged(old: Manifest | None, new: Manifest, overwrite: bool, others: int) -> Manifest:
    """The manifest to write: what it says of older labels holds as long as there are any."""
    if old is None:
        return replace(new, made_elsewhere=others)
    if overwrite:
        return replace(new, made_elsewhere=min(old.made_elsewhere, others))
    return replace(old, weights=new.weights)  # they may lie elsewhere now
