"""Networks of the `transformers` library, from the hub or from a folder, with our errors and no output."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.utils import logging

from common.errors import UserError, one_line
from common.hub import check_connection
from common.weight_checks import check_weights

Part = TypeVar("Part")
Network = TypeVar("Network", bound=PreTrainedModel)


def local_files(name: str) -> list[Path]:
    """The files of a network in a folder; none for a name on the hub."""
    folder = Path(name)
    return [folder / "config.json", folder / "model.safetensors"] if folder.is_dir() else []


def is_within_reach(name: str) -> bool:
    """Whether a checkpoint is a folder, is in the hub's cache, or can be downloaded now."""
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


def from_hub(
    network: type[Network], name: str, *, use_safetensors: bool | None = True, unused: Collection[str] = ()
) -> Network:
    """Loads a network in float32 from a folder or the hub; downloads it if it is not in the cache.

    Args:
        network: a class of the library.
        name: on the hub, or of the folder.
        use_safetensors: None also reads weights in PyTorch's format.
        unused: weights that the checkpoint may lack.

    Raises:
        UserError: the checkpoint is missing, damaged, or of another network.
    """
    loaded, report = load_checkpoint(
        network.from_pretrained, name, dtype=torch.float32, use_safetensors=use_safetensors, output_loading_info=True
    )
    if missing := sorted(report["missing_keys"] - set(unused)):  # the library would draw them at random
        kind = type(loaded).__name__
        raise UserError(f"checkpoint '{name}': not a {kind}, since it lacks '{missing[0]}'; name another one")
    check_weights(loaded.state_dict(), f"checkpoint '{name}'")
    return loaded


def load_checkpoint(load: Callable[..., Part], checkpoint: str, **arguments: Any) -> Part:
    """Loads a part of a checkpoint by a `from_pretrained`, from a folder or the hub.

    Raises:
        UserError: the checkpoint is missing, damaged, or of another kind.
    """
    try:
        if not Path(checkpoint).is_dir() and not try_to_load_from_cache(checkpoint, "config.json"):
            check_connection()
    except UserError as error:
        raise UserError(f"checkpoint '{checkpoint}': is no folder, and not here; {error}") from None
    except HFValidationError:
        pass  # `load` says so
    try:
        with quiet():
            return load(checkpoint, **arguments)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = one_line(error)[:300]
        raise UserError(
            f"checkpoint '{checkpoint}': cannot be loaded ({reason}); "
            "name a folder that holds one, or one on the hub, which needs a connection the first time"
        ) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Hides the library's progress bars and its reports of loaded weights."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
