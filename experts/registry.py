"""Which networks ("backends") can label each modality.

To add one, write a module as `experts/base.py` says and name it here. A backend named for several
modalities, with equal options, makes all of them in one pass.
"""

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType

from model.errors import UserError
from model.modalities import MODALITIES

_NANO = "experts.nano.backend"
_SEGMENTATION = {
    "mask2former": "experts.segmentation.mask2former",
    "hub": "experts.segmentation.hub",
}

BACKENDS: dict[str, dict[str, str]] = {
    "depth": {"nano": _NANO},
    "normal": {"nano": _NANO},
    "seg_coco": _SEGMENTATION,
    "seg_ade": _SEGMENTATION,
    "seg_scenes": {"nano": _NANO},
    "edge": {"nano": _NANO},
    "obj_detection": {"nano": _NANO},
    "ocr_detection": {
        "nano": _NANO,
        "charnet": "experts.ocr.charnet",
        "rapidocr": "experts.ocr.rapidocr",
    },
}


def passes(backends: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """Groups experts by the module that makes their labels.

    Args:
        backends: the backend's name for each expert.

    Returns:
        (module, experts) for each pass over the images, in the registry's order.

    Raises:
        UserError: an expert or a backend that there is not; the message lists those there are.
    """
    modules: dict[str, list[str]] = {}
    for expert, backend in backends.items():
        if expert not in BACKENDS:
            raise UserError(f"unknown expert '{expert}'; experts that can be run: {', '.join(BACKENDS)}")
        if backend not in BACKENDS[expert]:
            known = ", ".join(BACKENDS[expert])
            raise UserError(f"expert '{expert}' has no backend '{backend}'; it has: {known}")
    for expert in MODALITIES:
        if expert in backends:
            modules.setdefault(BACKENDS[expert][backends[expert]], []).append(expert)
    return list(modules.items())


def backend(module: str) -> ModuleType:
    """The module of a backend; importing it takes as long as its network's library does."""
    return import_module(module)
