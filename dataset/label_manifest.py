"""What an expert's labels were made with, kept beside them: `<save_path>/<expert>/manifest.json`.

All labels in the folder were made with what stands there, at any moment; `experts/label_plan.py` sees to it.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import write_json
from common.strict_json import parse_json
from common.validation import STRICT, validate
from dataset.labels import MANIFEST

_LIBRARIES = ("torch", "torchvision", "transformers", "timm", "kornia", "numpy", "pillow")


@dataclass(frozen=True)
class WeightFile:
    """A file that a backend reads. Path, size and `modified` (ns) tell whether it must be hashed again."""

    __pydantic_config__ = STRICT
    path: str
    bytes: int
    modified: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Settings of labels.

    Attributes:
        expert: whose labels they are.
        backend: the network's name.
        options: its options, defaults included.
        precision: `fp32`, `bf16` or `fp16`.
        weights: the files it reads.
        made_elsewhere: labels that were there before there was a manifest, of unknown settings.
        made_with: versions of libraries and the kind of device; for information, not compared.
    """

    __pydantic_config__ = STRICT
    expert: str
    backend: str
    options: dict[str, Any]
    precision: str
    weights: list[WeightFile]
    made_elsewhere: int
    made_with: dict[str, str]


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of an expert's label folder; None if it has none.

    Raises:
        UserError: damaged.
    """
    path = folder / MANIFEST
    try:
        content = parse_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}); delete it to keep the labels beside it") from None
    return validate(content, Manifest, str(path))


def read_backends(save_path: Path, experts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The networks that made labels, by expert, as `experts.registry.passes` reads them.

    Experts whose labels have no manifest are left out.
    """
    manifests = {expert: read_manifest(save_path / expert) for expert in experts}
    return {
        expert: {"name": manifest.backend, **manifest.options}
        for expert, manifest in manifests.items()
        if manifest is not None
    }


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest of an expert's label folder."""
    write_json(folder / MANIFEST, asdict(manifest), indent=2)


def new_manifest(
    expert: str, backend: str, options: Any, precision: str, weights: list[WeightFile], device: str
) -> Manifest:
    """The manifest of labels that an expert is going to make with a backend and its `Options`."""
    plain = json.loads(json.dumps(asdict(options), default=str))
    return Manifest(expert, backend, plain, precision, weights, 0, _versions() | {"device": device})


@cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in _LIBRARIES}


def hashed(files: Iterable[Path], known: Sequence[WeightFile]) -> list[WeightFile]:
    """Hashes files, except those that have not changed since they were: some are gigabytes.

    Raises:
        UserError: one cannot be read.
    """
    hashes = {(file.path, file.bytes, file.modified): file for file in known}
    found = []
    for path in files:
        try:
            status = path.stat()
            key = (str(path.resolve()), status.st_size, status.st_mtime_ns)
            if key not in hashes:
                with path.open("rb") as file:
                    hashes[key] = WeightFile(*key, hashlib.file_digest(file, "sha256").hexdigest())
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
        found.append(hashes[key])
    return found


def differences(old: Manifest, new: Manifest) -> list[str]:
    """What of the settings differs, for the user to read; empty if labels of both go together."""
    found = []
    for name in ("backend", "options", "precision"):
        before, now = getattr(old, name), getattr(new, name)
        if before != now:
            found.append(f"{name} {_short(before)}, now {_short(now)}")
    if sorted(file.sha256 for file in old.weights) != sorted(file.sha256 for file in new.weights):
        found.append("other weights")
    return found


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
