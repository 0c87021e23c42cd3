"""The networks ("backends") that label each modality, and the order in which they run.

To add a backend, write a module as `experts/base.py` says and name it here (docs/experts.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from common.errors import UserError
from common.validation import validate
from model.modalities import MODALITIES

WEIGHTS = Path("experts/expert_weights")  # the folder of the released files, see download_checkpoints.py
_NANO = "nano.expert.backend"
_SEGMENTATION = {"mask2former": "experts.segmentation.mask2former", "hub": "experts.segmentation.hub_models"}

# The network of each expert: a name, or a mapping of `name`, optionally `batch_size`, and the network's options.
Backends = dict[str, str | dict[str, Any]]

BACKENDS: dict[str, dict[str, str]] = {
    "depth": {"nano": _NANO, "dpt": "experts.depth.dpt", "depth_anything": "experts.depth.depth_anything"},
    "normal": {"nano": _NANO, "nll_angmf": "experts.normal.nll_angmf"},
    "seg_coco": _SEGMENTATION,
    "seg_ade": _SEGMENTATION,
    "seg_scenes": {"nano": _NANO},
    "edge": {"nano": _NANO, "dexined": "experts.edge.dexined"},
    "obj_detection": {"nano": _NANO, "unidet": "experts.detection.unidet", "owlv2": "experts.detection.owlv2"},
    "ocr_detection": {"nano": _NANO, "charnet": "experts.ocr.charnet", "rapidocr": "experts.ocr.rapidocr"},
}


@dataclass(frozen=True)
class ExpertJob:
    """One run of a network over the images: its name and module, the modalities that it labels, its `Options`."""

    backend: str
    module: ModuleType
    modalities: tuple[str, ...]
    options: Any
    batch_size: int


def passes(backends: Mapping[str, str | Mapping[str, Any]], batch_size: int) -> list[ExpertJob]:
    """Groups experts into jobs: those with the same backend, options and batch size share one.

    `batch_size` is that of backends that do not name their own.

    The order is that of `MODALITIES`. Depth is first, since the object detector reads depth labels.

    Raises:
        UserError: an unknown expert, backend or option; the message lists the known ones.
    """
    check_names(backends)
    jobs: dict[tuple, ExpertJob] = {}
    for expert in (name for name in MODALITIES if name in backends):
        settings = _as_mapping(backends[expert])
        name, own_batch_size = settings.pop("name"), settings.pop("batch_size", batch_size)
        module = import_module(BACKENDS[expert][name])
        options = validate(settings, module.Options, f"backend '{name}' of expert '{expert}'")
        key = module.__name__, repr(options), own_batch_size
        before = jobs[key].modalities if key in jobs else ()
        jobs[key] = ExpertJob(name, module, (*before, expert), options, own_batch_size)
    return list(jobs.values())


def check_names(backends: Mapping[str, str | Mapping[str, Any]]) -> None:
    """Checks experts, backends and batch sizes without importing a backend.

    Raises:
        UserError: as `passes`.
    """
    for expert, backend in backends.items():
        if expert not in BACKENDS:
            raise UserError(f"unknown expert '{expert}'; experts that can be run: {', '.join(BACKENDS)}")
        known = ", ".join(BACKENDS[expert])
        settings = _as_mapping(backend)
        if "name" not in settings:
            raise UserError(f"expert '{expert}': 'name' is missing beside the options; it can be: {known}")
        if settings["name"] not in BACKENDS[expert]:
            raise UserError(f"expert '{expert}' has no backend '{settings['name']}'; it has: {known}")
        size = settings.get("batch_size", 1)
        if not isinstance(size, int) or size < 1:
            raise UserError(f"expert '{expert}': batch_size must be a number of at least 1, got {size!r}")


def _as_mapping(backend: str | Mapping[str, Any]) -> dict[str, Any]:
    return {"name": backend} if isinstance(backend, str) else dict(backend)
