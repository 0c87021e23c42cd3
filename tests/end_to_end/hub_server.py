"""A local server in place of the model hub and GitHub's raw files, with faults on demand.

As on the hub, large files are a redirect to another host, which serves ranges. That host is `localhost`, the hub
itself is `127.0.0.1`.
"""

import hashlib
import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from benchmarks.file_server import OnLoopback
from tests.end_to_end.hub_api import HubApi

COMMIT = "c" * 40
RENAMED = {"roberta-base": "FacebookAI/roberta-base", "roberta-large": "FacebookAI/roberta-large"}


@dataclass
class Fault:
    """A fault of a file.

    Attributes:
        kind: "cut" (the connection ends half-way), "stall" (no bytes follow the first half),
            "busy" (429), "refused" (401), "gone" (404), "other" (other bytes of the same length), "short"
            (the last byte is missing), "longer" (bytes follow) or "whole" (ranges are ignored).
        times: how often it occurs.
    """

    kind: str
    times: int = 1


class _Handler(HubApi):
    protocol_version = "HTTP/1.1"
    served: "Hub"

    def do_HEAD(self) -> None:
        self.respond()

    def do_GET(self) -> None:
        self.respond()

    def log_message(self, *_: object) -> None:
        pass

    def respond(self) -> None:
        path = unquote(self.path.partition("?")[0]).strip("/")
        self.served.requests.append((self.command, path, self.headers["Range"]))
        if path.startswith("storage/"):
            name = path.removeprefix("storage/")
            self.content(name, self.served.large[name])
        elif path in self.served.raw:
            self.content(path, self.served.raw[path])
        elif "/resolve/" in path:
            self.resolve(*path.split("/resolve/"))
        elif path.startswith("api/models/"):
            self.list_files(path)
        else:
            self.answer(404)

    def resolve(self, repository: str, rest: str) -> None:
        if repository in RENAMED:
            return self.answer(307, {"Location": f"/{RENAMED[repository]}/resolve/{rest}"})
        name = f"{repository}/{rest.partition('/')[2]}"
        commit = {"X-Repo-Commit": COMMIT}
        if self.served.take_fault(name, "busy"):
            self.answer(429, {"Retry-After": "0"})
        elif self.served.take_fault(name, "refused"):
            self.answer(401)
        elif content := self.served.large.get(name):
            place = f"{self.served.url}/storage/{name}?signature=1".replace("127.0.0.1", "localhost")
            # The hub's library prefers this storage, which does not exist here.
            xet = {"X-Xet-Hash": _sha256(content), "X-Xet-Refresh-Route": f"{self.served.url}/api/xet"}
            linked = {"X-Linked-Size": str(len(content)), "X-Linked-ETag": f'"{_sha256(content)}"'}
            self.answer(302, {"Location": place.replace("+", "%2B"), **linked, **xet, **commit})
        elif content := self.served.small.get(name):
            etag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            self.content(name, content, {"ETag": f'"{etag}"', **commit})
        else:
            self.answer(404, {"X-Error-Code": "EntryNotFound", **commit})

    def content(self, name: str, content: bytes, headers: dict[str, str] | None = None) -> None:
        kinds = ("cut", "stall", "gone", "other", "short", "longer", "whole") if self.command == "GET" else ()
        fault = self.served.take_fault(name, *kinds)
        if fault == "gone":
            return self.answer(404)
        if fault == "other":
            content = bytes(byte ^ 1 for byte in content)
        if fault == "short":
            content = content[:-1]
        if fault == "longer":
            content += b"more"
        span = self.headers["Range"]
        start = int(span.removeprefix("bytes=").rstrip("-")) if span and fault != "whole" else 0
        if start and start >= len(content):
            return self.answer(416)
        part = content[start:]
        self.send_response(206 if start else 200)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if self.command == "HEAD":
            return
        half = fault in ("cut", "stall")
        self.wfile.write(part[: len(part) // 2] if half else part)
        if fault == "stall":
            self.served.stalled.set()
            self.rfile.read(1)  # until the client goes away
        if half:
            self.close_connection = True

    def answer(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": "0", **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()


@dataclass
class Hub(OnLoopback):
    """The server, its files and the requests it received.

    Attributes:
        large: repository/path -> content, of files that the hub keeps in its large-file storage.
        small: the same, of files that it keeps in git.
        raw: repository/commit/path -> content, of GitHub.
        faults: by name of a file.
        requests: method, path and the `Range` header, in the order they came.
        stalled: set when a "stall" has sent its half.
        repositories: created ones by name, with the request.
    """

    handler = _Handler
    large: dict[str, bytes] = field(default_factory=dict)
    small: dict[str, bytes] = field(default_factory=dict)
    raw: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    stalled: threading.Event = field(default_factory=threading.Event)
    repositories: dict[str, dict[str, Any]] = field(default_factory=dict)
    commit: str = COMMIT

    def fetched(self, name: str) -> list[str | None]:
        """The requested ranges of files whose names have this ending."""
        # The hub's library requests `api/` by itself.
        return [
            span
            for method, path, span in self.requests
            if method == "GET" and path.endswith(name) and not path.startswith("api/")
        ]

    def take_fault(self, name: str, *kinds: str) -> str | None:
        """The fault to commit now, if any; counts it."""
        fault = self.faults.get(name)
        if fault is None or fault.kind not in kinds or not fault.times:
            return None
        fault.times -= 1
        return fault.kind


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
