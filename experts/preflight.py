"""Finds the experts that cannot run, with the reason, before anything starts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.pickles import fetch_command
from experts.dataset_images import ImageFile
from experts.hub_networks import is_within_reach
from experts.label_plan import missing_labels
from experts.registry import passes


def unavailable(
    images: Sequence[ImageFile],
    experts: Sequence[str],
    backends: Mapping[str, str | Mapping[str, Any]],
    save_path: Path,
    weights: Path,
) -> dict[str, str]:
    """As `unusable`, for the experts that lack the label of an image below `save_path`."""
    busy = [expert for expert in experts if missing_labels(images, (expert,), save_path)]
    return unusable(busy, backends, weights)


def unusable(experts: Sequence[str], backends: Mapping[str, str | Mapping[str, Any]], weights: Path) -> dict[str, str]:
    """Looks for the files and packages that experts need; returns by expert the reason why it cannot run.

    Raises:
        UserError: an unknown expert, backend or option.
    """
    reasons = {}
    for expert in experts:
        reason = _missing(expert, backends[expert], weights) if expert in backends else "no network is named for it"
        if reason:
            reasons[expert] = reason
    return reasons


def check_usable(experts: Sequence[str], reasons: Mapping[str, str]) -> None:
    """Refuses to start if some of the wanted experts cannot run.

    Raises:
        UserError: names them, and how to go on without them.
    """
    if reasons:
        others = ",".join(name for name in experts if name not in reasons) or "none"
        raise UserError(
            f"cannot be run: {'; '.join(f'{name} ({reason})' for name, reason in reasons.items())}; "
            f"mend that, or go on without: --experts {others}"
        )


def _missing(expert: str, backend: str | Mapping[str, Any], weights: Path) -> str | None:
    try:
        (job,) = passes({expert: backend}, batch_size=1)
    except ModuleNotFoundError as error:
        return f"the package {error.name} is not installed"
    try:
        files = job.module.files(job.modalities, job.options, weights)
    except UserError as error:  # of a package that a backend looks for itself
        return str(error)
    for path in files:
        if not path.is_file():
            return f"{path} is missing, fetch it with: {fetch_command(path)}"
    default = getattr(job.module, "CHECKPOINTS", {}).get(expert)
    for name in (getattr(job.options, "checkpoint", None) or default, getattr(job.options, "clip", None)):
        if name and not is_within_reach(name):
            return f"checkpoint '{name}' is not here, and the hub cannot be reached for it"
    return None
