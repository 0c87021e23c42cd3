"""Networks of transformers by their name on the hub, or from a folder that holds a copy."""

from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel

from model.errors import UserError, one_line

Network = TypeVar("Network", bound=PreTrainedModel)


def local_files(name: str) -> list[Path]:
    """What `from_hub` reads of a folder; nothing if the name is one of the hub."""
    folder = Path(name)
    return [folder / "config.json", folder / "model.safetensors"] if folder.is_dir() else []


def from_hub(network: type[Network], name: str) -> Network:
    """Loads a network in float32; what the hub has is fetched if it is not here yet.

    Args:
        network: the class.
        name: on the hub, or a folder with config.json and model.safetensors.

    Raises:
        UserError: it is neither here nor on the hub, damaged, or another kind of network.
    """
    try:
        loaded, report = network.from_pretrained(
            name, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = one_line(error)[:200]
        raise UserError(f"{name}: cannot be loaded ({reason}); name a folder or a model of the hub") from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(f"{name}: not a {network.__name__}: it has no '{missing[0]}'")
    return loaded
