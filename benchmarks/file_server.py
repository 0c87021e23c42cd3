"""A web server for a folder, on this machine, that knows ranges and commits faults to order."""

import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import unquote

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class OnLoopback:
    """A web server on this machine, while it is entered.

    Attributes:
        handler: of its requests; knows it as `served`.
    """

    handler: type[BaseHTTPRequestHandler]

    def __enter__(self) -> Self:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (self.handler,), {"served": self}))
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a small answer waits for the client's acknowledgement
    wbufsize = -1  # head and body go out together
    served: "FileServer"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.served.together is not None:
            self.served.together.wait()
        path = unquote(self.path).strip("/")
        self.served.requests.append((path, self.headers["Range"]))
        self.served.connections.add(self.client_address)
        fault = self.served.take_fault(path)
        if isinstance(fault, int):
            return self.answer(fault, b"no")
        file = self.served.folder / path
        if not file.is_file():
            return self.answer(404, b"no such file")
        wanted = None if fault == "whole" else _RANGE.fullmatch(self.headers["Range"] or "")
        total = file.stat().st_size
        if wanted is None or int(wanted[2]) < int(wanted[1]):  # no range by RFC 9110: ignored
            return self.answer(200, file.read_bytes(), fault=fault)
        start, end = int(wanted[1]), min(int(wanted[2]) + 1, total)
        if start >= total:
            return self.answer(416, b"")
        with file.open("rb") as opened:
            opened.seek(start)
            content = opened.read(end - start)
        self.answer(206, content, {"Content-Range": f"bytes {start}-{end - 1}/{total}"}, fault)

    def answer(
        self, status: int, content: bytes, headers: dict[str, str] | None = None, fault: str | None = None
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        broken = fault in ("cut", "stall")
        self.wfile.write(content[: len(content) // 2] if broken else content)
        if fault == "stall":
            self.wfile.flush()
            self.rfile.read(1)  # until the client goes away
        self.close_connection = self.close_connection or broken


@dataclass
class FileServer(OnLoopback):
    """Serves the files below a folder.

    Attributes:
        folder: what is served.
        faults: by the end of a path: what is answered to the next requests for it, first to last. A status,
            "cut" (the connection ends half-way), "stall" (it stops half-way) or "whole" (ranges are ignored).
        requests: paths and ranges, in the order they came.
        connections: addresses of the clients, a connection each.
        together: answers wait until so many are asked for.
    """

    handler = _Handler
    folder: Path
    faults: dict[str, list[int | str]] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    connections: set[tuple[str, int]] = field(default_factory=set)
    together: threading.Barrier | None = None

    def take_fault(self, path: str) -> int | str | None:
        """The fault to commit now."""
        for end, faults in self.faults.items():
            if path.endswith(end) and faults:
                return faults.pop(0)
        return None


def serve(folder: Path) -> str:
    """Serves a folder until this process ends; the address."""
    return FileServer(folder).__enter__().url
