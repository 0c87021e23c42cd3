"""Folders of experiments: `logging/<task>_<exp_name>`, and the miniature that comes with the project."""

import sys
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object

from common.errors import UserError
from common.files import ROOT, numbered, write_text
from common.overwrite import Outputs
from common.yaml_config import settings_text
from helpers.checkpoints.released import MODELS
from helpers.checkpoints.weight_files import WEIGHT_FILES
from helpers.training.checkpoints.folders import FOLDER, damage, find_checkpoints, remove_checkpoint
from helpers.training.tracking import METRICS

LOGGING = Path("logging")
SETTINGS = "settings.yaml"  # all of a run's, beside what it writes
EMBEDDED = ROOT / "nano"  # prismer_nano, trained on Scenes, is committed


def experiment_folder(task: str, exp_name: str, output_dir: Path = LOGGING) -> Path:
    """Where a run of a task writes."""
    return output_dir / f"{task}_{exp_name}"


def find_experiment(task: str, exp_name: str, output_dir: Path = LOGGING) -> Path:
    """The folder of an experiment that has weights.

    Args:
        task: of the experiment.
        exp_name: its name.
        output_dir: where one's own experiments are; the embedded ones come after them.

    Raises:
        UserError: there is none of that name; lists those there are.
    """
    for root in (output_dir, EMBEDDED):
        folder = root / f"{task}_{exp_name}"
        if _has_weights(folder):
            return folder
    known = sorted(
        folder.name.removeprefix(f"{task}_")
        for root in (output_dir, EMBEDDED)
        if root.is_dir()
        for folder in root.glob(f"{task}_*")
        if _has_weights(folder)
    )
    wanted = experiment_folder(task, exp_name, output_dir)
    there = f"there are: {', '.join(known)}" if known else f"there is none for {task} yet"
    if f"{task}_{exp_name}" in MODELS:
        there = f"fetch them with: python download_checkpoints.py --download_models={task}_{exp_name}"
        there += f" --output_dir={output_dir}" if output_dir != LOGGING else ""
    elif task == "pretrain":
        nano = "cp -r nano/caption_prismer_nano"
        there += f"; set 'from_scratch: true', or start from the miniature: {nano} {wanted}"
    raise UserError(f"no weights of experiment '{exp_name}' in {wanted}; {there}")


def find_model(task: str, name: str, output_dir: Path = LOGGING) -> Path:
    """The folder of the weights that a demo is to show.

    Args:
        task: of the experiment.
        name: of the experiment, or a folder of weights, with a slash in its path. An experiment of one's own
            comes before the embedded one of its name, and that is said.
        output_dir: where one's own are.

    Raises:
        UserError: there are no weights.
    """
    if "/" in name:
        if not _has_weights(Path(name)):
            raise UserError(f"{name}: no weights there; name a folder that holds some, or an experiment")
        return Path(name)
    folder, embedded = find_experiment(task, name, output_dir), EMBEDDED / f"{task}_{name}"
    if folder != embedded and _has_weights(embedded):
        print(
            f"note: {folder} is shown, which is called like nano/{embedded.name} of the project",
            file=sys.stderr,
        )
    return folder


def has_weights(task: str, exp_name: str, output_dir: Path = LOGGING) -> bool:
    """Whether `find_experiment` would find it."""
    return any(_has_weights(root / f"{task}_{exp_name}") for root in (output_dir, EMBEDDED))


def newest_checkpoint(task: str, exp_name: str, accelerator: Accelerator, output_dir: Path = LOGGING) -> Path:
    """The newest checkpoint of an experiment that is whole; every process must call it.

    Damaged ones are named. The processes share the work of reading the files.

    Raises:
        UserError: there is none.
    """
    folder = experiment_folder(task, exp_name, output_dir)
    found = find_checkpoints(folder)
    if not found:
        folder = find_experiment(task, exp_name, output_dir)
        raise UserError(f"{folder}: has weights, but no training state ({FOLDER}/) to go on from")
    for checkpoint in found:
        problems = [damage(checkpoint, accelerator.process_index, accelerator.num_processes)]
        if accelerator.num_processes > 1:
            problems = gather_object(problems)
        problem = next(filter(None, problems), None)
        if problem is None:
            return checkpoint
        if accelerator.is_main_process:
            print(f"warning: {checkpoint} is damaged: {problem}", file=sys.stderr)
    raise UserError(f"{folder / FOLDER}: no checkpoint there is whole; remove the folder to start anew")


def refuse_to_start_over(folder: Path, files: Iterable[str], overwrite: bool = False) -> None:
    """A new run must not write between the checkpoints of an earlier one, nor replace weights.

    Args:
        folder: of the experiment.
        files: what the run is going to write in it; whoever wrote them, they took long to make.
        overwrite: the user confirms it.

    Raises:
        UserError: the experiment has checkpoints or such files, or the folder cannot be written to.
    """
    if not overwrite and (found := find_checkpoints(folder)):
        raise UserError(
            f"{folder}: has checkpoints of an earlier run (newest: {found[0].name}); go on from them with "
            "--from_checkpoint, or replace them with --overwrite"
        )
    outputs = Outputs("this run", overwrite, "choose another --exp_name")
    # A run that was stopped before its first checkpoint has left metrics, which are set aside, and settings.
    outputs.check((folder / name for name in files), known=lambda path: path.name in (METRICS, SETTINGS))


def check_places(folder: Path, *parts: str) -> None:
    """A run must find out before its work that it cannot write.

    Args:
        folder: of the experiment.
        parts: the folders in it that the run writes to.

    Raises:
        UserError: files cannot be put there.
    """
    outputs = Outputs("this run", overwrite=True, instead="choose another --output_dir")
    outputs.check(folder / part / "new" for part in parts)


def remove_earlier_run(folder: Path, files: Iterable[str]) -> None:
    """Removes the checkpoints of an experiment and the files that a new run is going to write."""
    for checkpoint in find_checkpoints(folder):
        remove_checkpoint(checkpoint)
    for name in files:
        (folder / name).unlink(missing_ok=True)


def set_metrics_aside(folder: Path) -> None:
    """Keeps the records of a run that ended before it saved anything, apart from those of a new run."""
    file = folder / METRICS
    if file.is_file() and file.stat().st_size:
        print(f"{_set_aside(file)}: records of a run that had saved nothing")


def write_run_settings(folder: Path, config: Any, args: Namespace) -> None:
    """Writes a run's settings; others that are there, an edited file perhaps, are kept under another name."""
    file, new = folder / SETTINGS, settings_text(config, args)
    if file.is_file() and _settings(file.read_bytes()) != _settings(new.encode()):
        print(f"{_set_aside(file)}: the settings that were here before")
    write_text(file, new)


def _settings(content: bytes) -> bytes:
    """What a file of settings says after its first line, the command."""
    return content.partition(b"\n")[2]


def _set_aside(file: Path) -> Path:
    kept = numbered(file.with_stem(f"{file.stem}_before"))
    file.rename(kept)
    return kept


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in WEIGHT_FILES)
