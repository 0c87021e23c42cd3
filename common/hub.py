"""A quick check that the Hugging Face hub answers, before its library tries for half a minute."""

from functools import cache

from huggingface_hub import constants, is_offline_mode
from huggingface_hub.errors import HTTPError
from huggingface_hub.utils import get_session

from common.errors import UserError, one_line


def check_connection(address: str | None = None, mirror: str = "HF_ENDPOINT") -> None:
    """Asks a server once whether it answers, unless HF_HUB_OFFLINE is set.

    Args:
        address: of a server; None: the hub.
        mirror: the environment variable that names another server.

    Raises:
        UserError: it cannot be reached, or the environment names proxies or certificates that cannot be used.
    """
    if not is_offline_mode():
        _ask(address or constants.ENDPOINT, mirror)


@cache
def _ask(address: str, mirror: str) -> None:
    try:
        session = get_session()
    except Exception as error:  # a session depends on the environment alone
        raise UserError(
            f"no connection can be made ({one_line(error)}); check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY (for a "
            "SOCKS proxy: pip install socksio) and SSL_CERT_FILE"
        ) from None
    try:
        session.head(address, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except HTTPError as error:
        raise UserError(f"{address}: {unreachable(one_line(error), mirror)}") from None


def unreachable(reason: str, mirror: str) -> str:
    """The message about a server that cannot be reached."""
    return (
        f"cannot be reached ({reason}); check the connection and HTTPS_PROXY, or name a mirror in "
        f"{mirror}, and run the command again"
    )
