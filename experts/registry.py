"""Which networks ("backends") can label each modality, and in which order they run.

To add one, write a module as `experts/base.py` says and name it here (docs/experts.md). A backend that is
chosen for several modalities, with equal options, labels all of them in one pass over the images.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from common.errors import UserError
from common.validation import validate
from model.modalities import MODALITIES

_NANO = "nano.expert.backend"
_SEGMENTATION = {
    "mask2former": "experts.segmentation.mask2former",
    "hub": "experts.segmentation.hub_models",
}

# For each expert, the network that makes its labels: a name, or a mapping with `name`, `batch_size` if it
# is to differ, and the network's own options (experts/registry.py).
Backends = dict[str, str | dict[str, Any]]

BACKENDS: dict[str, dict[str, str]] = {
    "depth": {"nano": _NANO, "dpt": "experts.depth.dpt", "depth_anything": "experts.depth.depth_anything"},
    "normal": {"nano": _NANO, "nll_angmf": "experts.normal.nll_angmf"},
    "seg_coco": _SEGMENTATION,
    "seg_ade": _SEGMENTATION,
    "seg_scenes": {"nano": _NANO},
    "edge": {"nano": _NANO, "dexined": "experts.edge.dexined"},
    "obj_detection": {
        "nano": _NANO,
        "unidet": "experts.detection.unidet",
        "owlv2": "experts.detection.owlv2",
    },
    "ocr_detection": {
        "nano": _NANO,
        "charnet": "experts.ocr.charnet",
        "rapidocr": "experts.ocr.rapidocr",
    },
}


@dataclass(frozen=True)
class ExpertJob:
    """One run of a network over the images.

    Attributes:
        backend: its name.
        module: what it is (experts/base.py).
        modalities: whose labels it makes.
        options: the module's `Options`.
        batch_size: images it sees at once, per process.
    """

    backend: str
    module: ModuleType
    modalities: tuple[str, ...]
    options: Any
    batch_size: int


def passes(backends: Mapping[str, str | Mapping[str, Any]], batch_size: int) -> list[ExpertJob]:
    """Groups experts by the network that makes their labels, and says which comes first.

    The order is that of `MODALITIES`. There depth is the first, so that its labels lie on disk, where the
    object detector reads which of two objects is in front.

    Args:
        backends: for each expert, the backend's name, or a mapping of `name`, if wanted `batch_size`, and
            the backend's options.
        batch_size: of the backends that do not name theirs.

    Raises:
        UserError: an expert, a backend or an option that there is not; the message lists those there are.
    """
    check_names(backends)
    found: list[ExpertJob] = []
    for expert in MODALITIES:
        if expert not in backends:
            continue
        backend = backends[expert]
        settings = {"name": backend} if isinstance(backend, str) else dict(backend)
        name, own_batch_size = settings.pop("name"), settings.pop("batch_size", batch_size)
        module = backend_module(BACKENDS[expert][name])
        options = validate(settings, module.Options, f"backend '{name}' of expert '{expert}'")
        new = ExpertJob(name, module, (expert,), options, own_batch_size)
        for index, other in enumerate(found):
            if (other.module, other.options, other.batch_size) == (module, options, own_batch_size):
                found[index] = ExpertJob(name, module, (*other.modalities, expert), options, own_batch_size)
                break
        else:
            found.append(new)
    return found


def backend_module(path: str) -> ModuleType:
    """The module of a backend; importing it takes as long as its network's library does."""
    return import_module(path)


def check_names(backends: Mapping[str, str | Mapping[str, Any]]) -> None:
    """Checks, without importing a backend, what `passes` says of experts, backends and batch sizes."""
    for expert, backend in backends.items():
        if expert not in BACKENDS:
            raise UserError(f"unknown expert '{expert}'; experts that can be run: {', '.join(BACKENDS)}")
        known = ", ".join(BACKENDS[expert])
        settings = {"name": backend} if isinstance(backend, str) else backend
        if "name" not in settings:
            raise UserError(f"expert '{expert}': 'name' is missing beside the options; it can be: {known}")
        if settings["name"] not in BACKENDS[expert]:
            raise UserError(f"expert '{expert}' has no backend '{settings['name']}'; it has: {known}")
        size = settings.get("batch_size", 1)
        if not isinstance(size, int) or size < 1:
            raise UserError(f"expert '{expert}': batch_size must be a number of at least 1, got {size!r}")
