"""Networks of the `transformers` library, loaded without its reports and in our manner of errors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError

from common.errors import UserError, one_line
from common.hub import check_connection

Part = TypeVar("Part")


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the library's progress bars and reports of what it loads off the screen."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def load_checkpoint(load: Callable[..., Part], checkpoint: str, **arguments: Any) -> Part:
    """Loads a part of a checkpoint.

    Args:
        load: a `from_pretrained`.
        checkpoint: a name on the hub, or a folder.
        arguments: for `load`.

    Raises:
        UserError: there is no such checkpoint, or it is damaged, or of another kind.
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
