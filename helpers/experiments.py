"""Folders of experiments: `logging/<task>_<exp_name>`, and the miniature that comes with the project."""

from pathlib import Path

from dataset.files import recover_folder
from helpers.checkpoint import WEIGHT_FILES, find_weights
from helpers.config import ROOT
from helpers.released import MODELS
from helpers.training_state import LAST
from model.errors import UserError

LOGGING = Path("logging")
EMBEDDED = ROOT / "nano"  # prismer_nano, trained on Scenes, is committed


def experiment_folder(task: str, exp_name: str) -> Path:
    """Where a run of a task writes."""
    return LOGGING / f"{task}_{exp_name}"


def find_experiment(task: str, exp_name: str) -> Path:
    """The folder of an experiment that has weights.

    Raises:
        UserError: there is none of that name; lists those there are.
    """
    for root in (LOGGING, EMBEDDED):
        folder = root / f"{task}_{exp_name}"
        if _has_weights(folder):
            return folder
    known = sorted(
        folder.name.removeprefix(f"{task}_")
        for root in (LOGGING, EMBEDDED)
        if root.is_dir()
        for folder in root.glob(f"{task}_*")
        if _has_weights(folder)
    )
    there = f"there are: {', '.join(known)}" if known else f"there is none for {task} yet"
    if f"{task}_{exp_name}" in MODELS:
        there = f"fetch them with: python download_checkpoints.py --download_models={task}_{exp_name}"
    raise UserError(f"no weights of experiment '{exp_name}' in {LOGGING / f'{task}_{exp_name}'}; {there}")


def starting_weights(
    task: str, exp_name: str, *, from_checkpoint: bool, evaluate: bool, from_scratch: bool
) -> Path | None:
    """The weight file a run begins with; None for new weights.

    A new run starts from `pretrain_<exp_name>`, pre-training from new weights; `from_checkpoint` evaluates
    the task's own best weights, or continues from its last ones.
    """
    if not from_checkpoint:
        if (from_scratch or task == "pretrain") and not evaluate:
            return None
        return find_weights(find_experiment("pretrain", exp_name))
    if evaluate:
        return find_weights(find_experiment(task, exp_name))
    state = experiment_folder(task, exp_name) / LAST
    recover_folder(state)
    if state.is_dir():
        return find_weights(state)
    folder = find_experiment(task, exp_name)
    raise UserError(f"{folder}: has weights but no training state ({LAST}/) to continue from")


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in WEIGHT_FILES)
