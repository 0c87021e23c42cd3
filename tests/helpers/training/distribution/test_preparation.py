"""A model made ready for training, from weights in half precision."""

import torch

from common.files import ROOT
from helpers.checkpoints.load import restore_network
from helpers.checkpoints.weight_files import find_weights, read_weights
from helpers.training.distribution.preparation import prepare_model
from helpers.training.distribution.processes import start_accelerator
from helpers.training.schedule import build_optimizer


def test_what_trains_is_float32_and_only_that_is_optimised():
    path = find_weights(ROOT / "nano" / "caption_prismer_nano")
    weights = {name: value.half() for name, value in read_weights(path).items()}
    model, _ = restore_network(weights, path)
    prepared = prepare_model(model, start_accelerator("no"), freeze="freeze_lang_vision")
    trainable = [p for p in prepared.parameters() if p.requires_grad]
    assert {p.dtype for p in trainable} == {torch.float32}
    assert len(trainable) < len(list(prepared.parameters()))
    optimizer = build_optimizer(prepared, lr=1e-3, weight_decay=0.0)
    assert list(map(id, optimizer.param_groups[0]["params"])) == list(map(id, trainable))
