"""Where data lies: a folder on this machine, or an address on a web server."""

from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import quote, unquote, urlsplit

from pydantic import PlainValidator

from dataset.remote import fetch
from model.errors import UserError


class Url:
    """A file or folder on a web server, used as a `Path` is; a folder there cannot be listed.

    Args:
        address: `http://` or `https://`, percent-encoded.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")

    def __str__(self) -> str:
        return self.address

    def __repr__(self) -> str:
        return f"Url({self.address!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Url) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __truediv__(self, name: "str | Path") -> "Url":
        below = PurePosixPath(name).as_posix()
        return self if below == "." else Url(f"{self.address}/{quote(below)}")

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(unquote(urlsplit(self.address).path)).name

    @property
    def suffix(self) -> str:
        """The name's suffix, with its dot."""
        return PurePosixPath(self.name).suffix

    def is_file(self) -> bool:
        """Whether the server has such a file."""
        try:
            self.read_bytes()
        except FileNotFoundError:
            return False
        return True

    def read_bytes(self) -> bytes:
        """The whole file.

        Raises:
            OSError: see `dataset.remote.fetch`.
        """
        return fetch(self.address).content

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole file as text."""
        return self.read_bytes().decode(encoding)


def as_place(place: "str | Path | Url") -> Path | Url:
    """A folder, or an address, from how it is written in a config.

    Raises:
        UserError: it is empty.
    """
    if isinstance(place, Url):
        return place
    text = str(place)
    if not text:
        raise UserError("an empty path names nothing; the present folder is .")
    return Url(text) if text.startswith(("http://", "https://")) else Path(text)


def _checked(value: Any) -> Path | Url:
    if not isinstance(value, str | Path | Url):
        raise ValueError("should be a path or an http(s) address")
    if value == "":
        raise ValueError("is empty; name a folder, or . for this one")
    return as_place(value)


Place = Annotated[Path | Url, PlainValidator(_checked)]
