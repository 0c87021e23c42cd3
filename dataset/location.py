"""Where data lies: a folder on this machine, or an address on a web server or of an object store."""

from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import quote, unquote, urlsplit

from pydantic import PlainValidator

from common.errors import UserError
from dataset.remote import check_protocol, fetch, is_web


class Url:
    """A file or folder elsewhere, used as a `Path` is; a folder there is not listed.

    Args:
        address: `http://` or `https://`, percent-encoded, or any that fsspec knows, such as `s3://`.
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
        if below == ".":
            return self
        return Url(f"{self.address}/{quote(below) if is_web(self.address) else below}")

    @property
    def name(self) -> str:
        """The last part of the path."""
        path = unquote(urlsplit(self.address).path) if is_web(self.address) else self.address
        return PurePosixPath(path).name

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
        UserError: it is empty, or nothing here reads such an address.
    """
    if isinstance(place, Url):
        return place
    text = str(place)
    if not text:
        raise UserError("an empty path names nothing; the present folder is .")
    if "://" not in text:
        return Path(text)
    check_protocol(text)
    return Url(text)


def _checked(value: Any) -> Path | Url:
    if not isinstance(value, str | Path | Url):
        raise ValueError("should be a path or an address")
    if value == "":
        raise ValueError("is empty; name a folder, or . for this one")
    try:
        return as_place(value)
    except UserError as error:
        raise ValueError(error) from None


Location = Annotated[Path | Url, PlainValidator(_checked)]
