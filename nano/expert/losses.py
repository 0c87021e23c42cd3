"""The losses of the nano experts, and their augmentation."""

import torch
import torch.nn.functional as F
from torch import Tensor

from nano.expert.network import NanoNetwork
from nano.expert.training_data import NO_WORD

WEIGHTS = {
    "depth": 4.0,
    "normal": 2.0,
    "edge": 2.0,
    "semantic": 1.0,
    "classes": 1.0,
    "centre": 60.0,
    "offset": 0.1,
    "text": 1.0,
    "word": 0.5,
}


def map_losses(maps: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
    """The loss of each map of `NanoNetwork.forward`, a scalar; `targets` are stacked `SceneTargets`."""
    maps = {name: values.float() for name, values in maps.items()}
    normal = targets["normal"].float() / 127.5 - 1
    classes = targets["classes"].long()
    things = (classes != maps["classes"].shape[1] - 1).float()
    strength = 1 - targets["edge"].float() / 255
    bumps = targets["centre"].float() / 255
    offset = (maps["offset"] - targets["offset"].float()).abs().sum(1)
    return {
        "depth": (maps["depth"][:, 0] - targets["depth"].float() / 255).abs().mean(),
        "normal": (1 - F.cosine_similarity(maps["normal"], normal, dim=1)).mean(),
        "edge": F.binary_cross_entropy_with_logits(maps["edge"][:, 0], strength),
        "semantic": F.cross_entropy(maps["semantic"], targets["semantic"].long()),
        "classes": F.cross_entropy(maps["classes"], classes),
        "centre": (maps["centre"][:, 0].sigmoid() - bumps).square().mean(),
        "offset": (offset * things).sum() / things.sum().clamp(min=1),
        "text": F.binary_cross_entropy_with_logits(maps["text"][:, 0], targets["text"].float()),
    }


def word_loss(network: NanoNetwork, targets: dict[str, Tensor], generator: torch.Generator) -> Tensor:
    """The reader's loss on the exact boxes with their sides moved by up to 4 pixels, as predicted boxes are."""
    which = (targets["word"] != NO_WORD).nonzero()[:, 0]
    if len(which) < 2:  # too few for batch norm
        return torch.zeros(())
    boxes = targets["box"][which] + torch.rand((len(which), 4), generator=generator) * 8 - 4
    logits = network.read(targets["images"], torch.cat([which[:, None].float(), boxes], dim=1))
    return F.cross_entropy(logits, targets["word"][which])


def weighted_sum(losses: dict[str, Tensor]) -> Tensor:
    """The scalar to minimise."""
    return torch.stack([WEIGHTS[name] * loss for name, loss in losses.items()]).sum()


def mirror(targets: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Flips half of the scenes without a word left to right."""
    chosen = (torch.rand(len(targets["word"]), generator=generator) < 0.5) & (targets["word"] == NO_WORD)
    mirrored = dict(targets)
    for name, values in targets.items():
        if values.ndim > 2:
            values = values.clone()
            values[chosen] = values[chosen].flip(-1)
            mirrored[name] = values
    mirrored["normal"][chosen, 0] = 255 - mirrored["normal"][chosen, 0]
    mirrored["offset"][chosen, 0] *= -1
    return mirrored
