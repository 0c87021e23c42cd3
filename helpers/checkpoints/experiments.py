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
from helpers.training.resume.folders import FOLDER, damage, find_checkpoints, remove_checkpoint
from helpers.training.tracking import METRICS

LOGGING = Path("logging")
SETTINGS = "settings.yaml"  # a run's complete settings, beside its output
EMBEDDED = ROOT / "nano"  # prismer_nano, trained on Scenes, is committed


def experiment_folder(task: str, exp_name: str, output_dir: Path = LOGGING) -> Path:
    """The folder of a run."""
    return output_dir / f"{task}_{exp_name}"


def find_experiment(task: str, exp_name: str, output_dir: Path = LOGGING, evaluated: str | None = None) -> Path:
    """The folder of an experiment with weights: the user's own, or else the embedded one.

    Args:
        task, exp_name, output_dir: of the experiment.
        evaluated: with `--evaluate`, the script's own task, for the remedy.

    Raises:
        UserError: there is none of that name; lists the existing ones.
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
        scratch = "" if evaluated else "set 'from_scratch: true', or "
        there += f"; {scratch}start from the miniature: cp -r nano/caption_prismer_nano {wanted}"
    if evaluated and evaluated != task and has_weights(evaluated, exp_name, output_dir):
        there = f"--from_checkpoint evaluates {evaluated}_{exp_name}; {there}"
    raise UserError(f"no weights of experiment '{exp_name}' in {wanted}; {there}")


def find_model(task: str, name: str, output_dir: Path = LOGGING) -> Path:
    """The folder of the weights for a demo.

    Args:
        task: of the experiment.
        name: of the experiment, or a path with a slash. The user's own experiment comes before an embedded
            one of the same name, with a note.
        output_dir: the folder of the user's experiments.

    Raises:
        UserError: there are no weights.
    """
    if "/" in name:
        if not _has_weights(Path(name)):
            raise UserError(f"{name}: no weights there; name a folder that holds some, or an experiment")
        return Path(name)
    folder, embedded = find_experiment(task, name, output_dir), EMBEDDED / f"{task}_{name}"
    if folder != embedded and _has_weights(embedded):
        print(f"note: {folder} is shown, not the project's nano/{embedded.name} of the same name", file=sys.stderr)
    return folder


def has_weights(task: str, exp_name: str, output_dir: Path = LOGGING) -> bool:
    """Whether `find_experiment` finds it."""
    return any(_has_weights(root / f"{task}_{exp_name}") for root in (output_dir, EMBEDDED))


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in WEIGHT_FILES)


def resumable_checkpoints(task: str, exp_name: str, output_dir: Path = LOGGING) -> list[Path]:
    """An experiment's training checkpoints, newest first; whether they are whole is not checked.

    Raises:
        UserError: there is none.
    """
    folder = experiment_folder(task, exp_name, output_dir)
    found = find_checkpoints(folder)
    if not found:
        folder = find_experiment(task, exp_name, output_dir)
        raise UserError(f"{folder}: has weights, but no training state ({FOLDER}/) to go on from")
    return found


def newest_whole(checkpoints: list[Path], accelerator: Accelerator) -> Path:
    """The first checkpoint that is whole; every process must call it. The processes share the hashing.

    Raises:
        UserError: all are damaged.
    """
    for checkpoint in checkpoints:
        problems = [damage(checkpoint, accelerator.process_index, accelerator.num_processes)]
        if accelerator.num_processes > 1:
            problems = gather_object(problems)
        problem = next(filter(None, problems), None)
        if problem is None:
            return checkpoint
        if accelerator.is_main_process:
            print(f"warning: {checkpoint} is damaged: {problem}", file=sys.stderr)
    raise UserError(f"{checkpoints[0].parent}: no checkpoint there is whole; remove the folder to start anew")


def refuse_to_start_over(folder: Path, files: Iterable[str], overwrite: bool = False) -> None:
    """Protects the checkpoints and weights of an earlier run from a new one.

    Args:
        folder: of the experiment.
        files: names that the run is going to write in it.
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
    # A run that stopped before its first checkpoint leaves settings, and metrics, which are set aside.
    outputs.check((folder / name for name in files), known=lambda path: path.name in (METRICS, SETTINGS))


def check_places(folder: Path, *parts: str) -> None:
    """Raises UserError if a run cannot write into these parts of its folder."""
    outputs = Outputs("this run", overwrite=True, instead="choose another --output_dir")
    outputs.check(folder / part / "new" for part in parts)


def remove_earlier_run(folder: Path, files: Iterable[str]) -> None:
    """Removes the checkpoints of an experiment and the files that a new run is going to write."""
    for checkpoint in find_checkpoints(folder):
        remove_checkpoint(checkpoint)
    for name in files:
        (folder / name).unlink(missing_ok=True)


def set_metrics_aside(folder: Path) -> None:
    """Renames the metrics of a run that ended before its first checkpoint."""
    file = folder / METRICS
    if file.is_file() and file.stat().st_size:
        print(f"{_set_aside(file)}: records of a run that had saved nothing")


def write_run_settings(folder: Path, config: Any, args: Namespace) -> None:
    """Writes a run's settings; a file with other settings, perhaps edited, is renamed."""
    file, new = folder / SETTINGS, settings_text(config, args)
    # The first line is the command.
    if file.is_file() and file.read_bytes().partition(b"\n")[2] != new.encode().partition(b"\n")[2]:
        print(f"{_set_aside(file)}: the settings that were here before")
    write_text(file, new)


def _set_aside(file: Path) -> Path:
    kept = numbered(file.with_stem(f"{file.stem}_before"))
    file.rename(kept)
    return kept
