"""A released Mask2Former that is small, as a file."""

import gzip
import json
import pickle
from pathlib import Path

import numpy as np

from tests.parity.seeded_weights import seeded_state_dict

_SPECS = Path(__file__).parent / "state_dict_specs"


def segmentation_spec(name: str) -> dict[str, list[int]]:
    """Names and shapes of the entries of a released file: `seg_coco`, `seg_ade` or `seg_reduced`."""
    return json.loads(gzip.decompress((_SPECS / f"{name}.json.gz").read_bytes()))


def reduced_weights() -> dict[str, np.ndarray]:
    """The entries of the reduced network's file, with seeded weights."""
    return {key: values.numpy() for key, values in seeded_state_dict(segmentation_spec("seg_reduced")).items()}


def write_released(path: Path, weights: dict[str, np.ndarray]) -> None:
    """Writes weights as detectron2 does."""
    with path.open("wb") as file:
        pickle.dump({"model": weights, "__author__": "test"}, file, protocol=2)
