"""The released weight files of the experts with seeded weights, at real size and in their own formats."""

import gzip
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experts.depth import dpt
from experts.detection import unidet
from experts.edge import dexined
from experts.normal import nll_angmf
from experts.ocr import charnet
from experts.segmentation import mask2former
from tests.experts.tiny_clip import save_clip, save_pca
from tests.parity.released_segmentation import segmentation_spec, write_released
from tests.parity.seeded_weights import seeded_state_dict

_SPECS = Path(__file__).parent / "state_dict_specs"
BACKENDS = {
    "depth": "dpt",
    "normal": "nll_angmf",
    "seg_coco": "mask2former",
    "seg_ade": "mask2former",
    "edge": "dexined",
    "obj_detection": "unidet",
    "ocr_detection": "charnet",
}


def released(name: str) -> dict[str, list[int]]:
    """Shapes in the released file of `depth`, `normal`, `edge`, `obj_detection` or `ocr_detection`."""
    return json.loads(gzip.decompress((_SPECS / f"{name}.json.gz").read_bytes()))


def scannet(state: dict[str, Tensor]) -> dict[str, Any]:
    """Surface normals were trained in parallel, and the state dict lies in a larger one."""
    return {"model": {f"module.{key}": value for key, value in state.items()}}


def unified(state: dict[str, Tensor]) -> dict[str, Any]:
    """The detector's file; as its golden has it: fewer classes a box, boxes that stay near."""
    for key, value in state.items():
        if key.endswith("cls_score.bias"):
            value -= 2
        if key.endswith(("bbox_pred.weight", "anchor_deltas.weight")):
            value *= 0.1
    constants = {"pixel_mean": torch.ones(3, 1, 1), "pixel_std": torch.ones(3, 1, 1)}
    return {"model": state | constants, "iteration": 1}


def write_expert(expert: str, folder: Path) -> dict[str, Any]:
    """Writes what an expert's paper backend reads into a folder of weights.

    Returns:
        The backend's entry for a config; words are embedded by a tiny CLIP, which is written as well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if expert in mask2former.FILES:
        weights = seeded_state_dict(segmentation_spec(expert))
        write_released(folder / mask2former.FILES[expert], {key: x.numpy() for key, x in weights.items()})
        return {"name": "mask2former"}
    backend, content = {
        "depth": (dpt, dict),
        "normal": (nll_angmf, scannet),
        "edge": (dexined, dict),
        "obj_detection": (unidet, unified),
        "ocr_detection": (charnet, dict),
    }[expert]
    torch.save(content(seeded_state_dict(released(expert))), folder / backend.FILE)
    if expert != "ocr_detection":
        return {"name": BACKENDS[expert]}
    (folder / charnet.LEXICON).write_text("# words\nstop\nbread\nhotel\n")
    save_pca(folder / "clip_pca.npz")
    return {"name": "charnet", "clip": str(save_clip(folder / "tiny_clip"))}
