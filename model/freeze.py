"""Freezing: the pre-trained part of each layer, in one tower or both.

Adaptors, cross-attention and everything outside the two towers' layers always train.
"""

import re

from torch import nn

from model.config import FreezeMode

# In a layer of either tower the pre-trained block is child `0`.
VISION_LAYERS = r"expert_encoder\.transformer\.resblocks\.\d+\.0\."
LANGUAGE_LAYERS = r"text_decoder\.roberta\.encoder\.layer\.\d+\.0\."
FROZEN: dict[FreezeMode, tuple[str, ...]] = {
    "none": (),
    "freeze_vision": (VISION_LAYERS,),
    "freeze_lang": (LANGUAGE_LAYERS,),
    "freeze_lang_vision": (VISION_LAYERS, LANGUAGE_LAYERS),
}


def freeze(model: nn.Module, mode: FreezeMode) -> None:
    """Sets which parameters of a Prismer require gradients, whatever mode was set before."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(re.match(pattern, name) for pattern in FROZEN[mode]))
