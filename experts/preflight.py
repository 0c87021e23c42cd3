"""Which experts cannot make the labels that are lacking, and why."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.pickles import fetch_command
from experts.dataset_images import ImageFile
from experts.hub_networks import is_within_reach
from experts.label_plan import missing_labels
from experts.registry import ExpertJob, passes


def unavailable(
    images: Sequence[ImageFile],
    experts: Sequence[str],
    backends: Mapping[str, str | Mapping[str, Any]],
    save_path: Path,
    weights: Path,
) -> dict[str, str]:
    """Looks for what experts need, where they have work to do.

    Args:
        images: to be labelled.
        experts: those that are wanted.
        backends: for each of them its network, as `experts.registry.passes` reads it, if it has one.
        save_path: the label folder; an expert whose labels are all there needs nothing.
        weights: folder of the released weight files.

    Returns:
        By expert, why it cannot be run.

    Raises:
        UserError: an expert, a backend or an option that there is not.
    """
    busy = [expert for expert in experts if missing_labels(images, (expert,), save_path)]
    return unusable(busy, backends, weights)


def unusable(experts: Sequence[str], backends: Mapping[str, str | Mapping[str, Any]], weights: Path) -> dict[str, str]:
    """The same for experts that have work to do."""
    reasons = {}
    for expert in experts:
        if expert not in backends:
            reasons[expert] = "no network is named for it"
        elif reason := _what_lacks(expert, backends[expert], weights):
            reasons[expert] = reason
    return reasons


def check_usable(experts: Sequence[str], reasons: Mapping[str, str]) -> None:
    """Refuses to start.

    Args:
        experts: those that are wanted.
        reasons: why some of them cannot be run.

    Raises:
        UserError: there are such; names them, and how to go on without them.
    """
    if reasons:
        others = ",".join(name for name in experts if name not in reasons) or "none"
        raise UserError(
            f"cannot be run: {'; '.join(f'{name} ({reason})' for name, reason in reasons.items())}; "
            f"mend that, or go on without: --experts {others}"
        )


def _what_lacks(expert: str, backend: str | Mapping[str, Any], weights: Path) -> str | None:
    try:
        (work,) = passes({expert: backend}, batch_size=1)
    except ModuleNotFoundError as error:
        return f"the package {error.name} is not installed"
    try:
        files = work.module.files(work.modalities, work.options, weights)
    except UserError as error:  # of a package that a backend looks for itself
        return str(error)
    gone = [path for path in files if not path.is_file()]
    if gone:
        return f"{gone[0]} is missing, fetch it with: {fetch_command(gone[0])}"
    far = [name for name in _checkpoints(expert, work) if not is_within_reach(name)]
    return f"checkpoint '{far[0]}' is not here, and the hub cannot be reached for it" if far else None


def _checkpoints(expert: str, work: ExpertJob) -> list[str]:
    """What a backend loads by a name of the hub, or from a folder."""
    named = [getattr(work.options, option, None) for option in ("checkpoint", "clip")]
    usual = getattr(work.module, "CHECKPOINTS", {}).get(expert)
    return [name for name in (named[0] or usual, named[1]) if name]
