"""Trainable parameters and their gradients in each freeze mode are the original's."""

import numpy as np
import pytest

from model.captioning import PrismerCaption
from model.tokenizer import load_tokenizer
from tests.parity import goldens

PREFIX = "A picture of"
CAPTIONS = ["A picture of a red ball", "A picture of two cats and a dog on the grass"]


@pytest.mark.parametrize("mode", ["none", "freeze_vision", "freeze_lang", "freeze_lang_vision"])
@pytest.mark.parametrize(("patch", "name"), goldens.NETWORKS)
def test_trainable_parameters_and_their_gradients(patch, name, mode):
    arrays = goldens.golden(patch, name)
    tokenizer = load_tokenizer(goldens.FOLDER / "tokenizer")
    model = goldens.seed(PrismerCaption(goldens.config(patch, name), tokenizer))
    model.freeze("freeze_lang_vision")
    model.freeze(mode)  # thaws the mode before
    trainable = {key: parameter for key, parameter in model.named_parameters() if parameter.requires_grad}
    assert sorted(trainable) == sorted(arrays[f"trainable_{mode}"])

    loss = model(goldens.inputs(arrays), CAPTIONS, PREFIX, goldens.instance_indices(arrays))
    loss.backward()
    norms = np.array([trainable[key].grad.norm().item() for key in arrays[f"trainable_{mode}"]])
    expected = arrays[f"gradnorm_{mode}"]
    np.testing.assert_allclose(norms, expected, rtol=2e-4, atol=1e-6 * expected.max())
