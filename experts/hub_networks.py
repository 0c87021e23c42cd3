"""Networks of transformers by their name on the hub, or from a folder that holds a copy."""

from pathlib import Path
from typing import TypeVar

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HFValidationError
from transformers import PreTrainedModel

from common.errors import UserError
from common.hub import check_connection
from common.weight_checks import check_weights
from experts.transformers_loading import load_checkpoint

Network = TypeVar("Network", bound=PreTrainedModel)


def local_files(name: str) -> list[Path]:
    """What `from_hub` reads of a folder; nothing if the name is one of the hub."""
    folder = Path(name)
    return [folder / "config.json", folder / "model.safetensors"] if folder.is_dir() else []


def is_within_reach(name: str) -> bool:
    """Whether a checkpoint is a folder, or the hub's and its description is here or can be fetched now."""
    if Path(name).is_dir():
        return True
    for here in (True, False):
        try:
            if not here:
                check_connection()
            hf_hub_download(name, "config.json", local_files_only=here)
            return True
        except (OSError, HFValidationError, UserError):
            pass
    return False


def from_hub(network: type[Network], name: str) -> Network:
    """Loads a network in float32; what the hub has is fetched if it is not here yet.

    Args:
        network: the class.
        name: on the hub, or a folder with config.json and model.safetensors.

    Raises:
        UserError: it is neither here nor on the hub, damaged, or another kind of network.
    """
    loaded, report = load_checkpoint(
        network.from_pretrained, name, dtype=torch.float32, use_safetensors=True, output_loading_info=True
    )
    if missing := sorted(report["missing_keys"]):  # the library would make them up
        raise UserError(f"checkpoint '{name}': no {network.__name__}, it lacks '{missing[0]}'; name one that is")
    check_weights(loaded.state_dict(), f"checkpoint '{name}'")
    return loaded
