"""The plan of a run: which labels are missing, and whether existing labels go with new ones.

Labels in a folder always have the settings in its manifest. A run with other settings is refused. With
`overwrite` it removes the old labels, then replaces the manifest, then makes new labels, so it may be killed at
any moment.
"""

from collections.abc import Sequence
from dataclasses import replace
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
from dataset.shards.tar_index import index_of, key_of
from experts.base import RuntimeConfig
from experts.dataset_images import ImageFile, Task, names_in
from experts.label_writer import is_sidecar, label_shard, remove_label, sidecars, stored_labels
from experts.registry import ExpertJob


class Plan(NamedTuple):
    """The tasks of each job of a run, and lines to tell the user."""

    tasks: list[list[Task]]
    notes: list[str]


def make_plan(
    images: Sequence[ImageFile],
    jobs: Sequence[ExpertJob],
    save_path: Path,
    setting: RuntimeConfig,
    overwrite: bool,
) -> Plan:
    """Compares the labels that are wanted with those that exist, and prepares the label folder.

    Raises:
        UserError: a weight file is missing, or labels were made with other settings. Then nothing is changed.
    """
    namesake = next((image for image in images if f"{image.label}.json" == MANIFEST), None)
    if namesake is not None:
        raise UserError(f"image {namesake.path}: its labels would be named like {MANIFEST}; rename it")
    remove_leftovers(save_path)
    outputs = Outputs("experts/generate.py", overwrite, "choose another label folder")
    tasks = [missing_labels(images, job.modalities, save_path, outputs) for job in jobs]
    scope = set()
    if overwrite:
        tasks = [[Task(image, job.modalities) for image in images] for job in jobs]
        scope = {image.label for image in images}
    changes: dict[Path, tuple[Manifest | None, Manifest]] = {}
    notes = []
    for job, todo in zip(jobs, tasks, strict=True):
        manifests = {expert: read_manifest(save_path / expert) for expert in job.modalities}
        files = _weight_files(job, setting.weights, needed=bool(todo))
        hashes = hashed(files or [], [file for old in manifests.values() if old for file in old.weights])
        for expert, old in manifests.items():
            folder = save_path / expert
            # Weights that are missing, and not needed, count as unchanged.
            used = old.weights if files is None and old is not None else hashes
            device = setting.device.type
            new = new_manifest(expert, job.backend, job.options, setting.precision, used, device)
            others = []
            if overwrite or old is None:
                others = [label for label in stored_labels(folder) if label not in scope]
            if old is None and others:
                notes.append(f"{folder}: kept {len(others)} labels without {MANIFEST}, made elsewhere")
            elif old is not None:
                _refuse_a_mixture(folder, differences(old, new), overwrite, others)
            if any(expert in task.experts for task in todo):
                changes[folder] = old, _merged(old, new, overwrite, len(others))
    for folder, (old, new) in changes.items():
        for label in scope:
            remove_label(save_path, folder.name, label)
        if new != old:
            write_manifest(folder, new)
    return Plan(tasks, notes)


def missing_labels(
    images: Sequence[ImageFile], experts: Sequence[str], save_path: Path, outputs: Outputs | None = None
) -> list[Task]:
    """Finds missing labels. Each folder is listed once, however many images it has.

    Raises:
        UserError: with `outputs`, a sidecar without a label is another program's.
    """
    for expert in experts:
        remove_leftovers(save_path / expert)  # of the manifest
    tasks = []
    by_folder = sorted(images, key=lambda image: image.folder)
    for folder, group in groupby(by_folder, key=lambda image: image.folder):
        names = {expert: set(remove_leftovers(save_path / expert / folder)) for expert in experts}
        for image in group:
            lacking = tuple(expert for expert in experts if image.label_name not in names[expert])
            if lacking:
                tasks.append(Task(image, lacking))
            if outputs is not None:
                for expert in lacking:
                    left = sidecars(save_path, expert, image.label)
                    outputs.check([path for path in left if path.name in names[expert]], known=is_sidecar)
            if image.shards:
                tasks += _missing_records(image, [each for each in experts if each not in lacking], save_path)
    return tasks


def _missing_records(shard: ImageFile, experts: Sequence[str], save_path: Path) -> list[Task]:
    """The images of a shard that lack a record in one of the existing shards of labels."""
    if not experts:
        return []
    stored = [
        {name.rpartition(".")[0] for name in index_of(label_shard(save_path, expert, shard.label)).names}
        for expert in experts
    ]
    names = tuple(name for name in names_in(shard) if any(key_of(name) not in keys for keys in stored))
    return [Task(shard, tuple(experts), names)] if names else []


def _weight_files(job: ExpertJob, weights: Path, needed: bool) -> list[Path] | None:
    """The files that a backend reads; None if one is missing, which is an error if the backend has work to do."""
    files = job.module.files(job.modalities, job.options, weights)
    missing = next((path for path in files if not path.is_file()), None)
    if missing is None:
        return files
    if needed:
        raise UserError(
            f"{missing}: missing, and {job.backend} ({' and '.join(job.modalities)}) needs it; "
            f"fetch it with: {fetch_command(missing)}"
        )
    return None


def _refuse_a_mixture(folder: Path, changed: Sequence[str], overwrite: bool, others: Sequence[str]) -> None:
    """Refuses labels of different settings in a folder; `others` are labels that the run does not overwrite."""
    settings = "; ".join(changed)
    if changed and not overwrite:
        raise UserError(
            f"{folder}: its labels were made with other settings ({settings}); make them anew with "
            "experts/generate.py --overwrite, or choose another label folder"
        )
    if changed and others:
        raise UserError(
            f"{folder}: would mix labels of different settings ({settings}), since it holds labels of images "
            f"that are not in this run, such as {others[0]}; overwrite all of them in one run, delete those "
            "that are no longer needed, or choose another label folder"
        )


def _merged(old: Manifest | None, new: Manifest, overwrite: bool, others: int) -> Manifest:
    """The manifest to write, which also describes the labels that stay."""
    if old is None:
        return replace(new, made_elsewhere=others)
    if overwrite:
        return replace(new, made_elsewhere=min(old.made_elsewhere, others))
    return replace(old, weights=new.weights)  # they may lie elsewhere now
