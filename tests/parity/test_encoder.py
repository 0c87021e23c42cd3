"""The expert encoder gives the original's numbers."""

import pytest
import torch

from model.encoder import ExpertEncoder
from model.modalities import modality
from tests.parity import goldens


def encoder(patch: int, name: str) -> ExpertEncoder:
    return goldens.seed(ExpertEncoder(goldens.config(patch, name)), "expert_encoder.")


@pytest.mark.parametrize("patch", [16, 14])
def test_stems(patch):
    arrays = goldens.golden(patch, "prismer")
    inputs, model = goldens.inputs(arrays), encoder(patch, "prismer")
    with torch.no_grad():
        for name in goldens.EXPERTS:
            goldens.assert_matches(model.conv1[modality(name).stem](inputs[name]), arrays[f"stem_{name}"])


@pytest.mark.parametrize(("patch", "name"), goldens.NETWORKS)
def test_encoder(patch, name):
    arrays = goldens.golden(patch, name)
    with torch.no_grad():
        out = encoder(patch, name)(goldens.inputs(arrays), goldens.instance_indices(arrays))
    goldens.assert_matches(out, arrays["encoder"])
