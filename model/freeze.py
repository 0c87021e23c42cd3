"""Which parameters train: the pre-trained halves of the layers of either tower can be frozen.

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
    """Sets which parameters of a Prismer require gradients; what an earlier mode froze thaws."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(re.match(pattern, name) for pattern in FROZEN[mode]))
