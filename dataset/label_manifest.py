"""The settings of an expert's labels, kept beside them: `<save_path>/<expert>/manifest.json`.

At any moment, all labels in the folder have these settings; `experts/label_plan.py` sees to it.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
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
    """A file that a backend reads; path, size and time of change (ns) tell whether it must be hashed again."""

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
        made_elsewhere: the number of labels of unknown settings, older than the manifest.
        made_with: versions of libraries and the kind of device, which are not compared.
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
    """The manifest of an expert's label folder, None if there is none; a damaged one is a `UserError`."""
    path = folder / MANIFEST
    try:
        content = parse_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}); delete it to keep the labels beside it") from None
    return validate(content, Manifest, str(path))


def read_backends(save_path: Path, experts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The networks that made the labels of each expert with a manifest, as `experts.registry` reads them."""
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
    """The manifest of new labels, made by a backend with its `Options`."""
    plain = json.loads(json.dumps(asdict(options), default=str))
    made_with = {name: version(name) for name in _LIBRARIES} | {"device": device}
    return Manifest(expert, backend, plain, precision, weights, 0, made_with)


def hashed(files: Iterable[Path], known: Sequence[WeightFile]) -> list[WeightFile]:
    """Hashes files, except those that have not changed since the `known` hashes: some are gigabytes."""
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
    """The differences between settings, as texts; none if labels of both may lie together."""
    found = []
    for name in ("backend", "options", "precision"):
        before, now = getattr(old, name), getattr(new, name)
        if before != now:
            before, now = (value if isinstance(value, str) else json.dumps(value) for value in (before, now))
            found.append(f"{name} {before}, now {now}")
    if sorted(file.sha256 for file in old.weights) != sorted(file.sha256 for file in new.weights):
        found.append("other weights")
    return found
