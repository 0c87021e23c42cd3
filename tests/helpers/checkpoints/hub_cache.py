"""Files in the hub's cache, without a hub."""

from pathlib import Path


def cache_file(cache: Path, repository: str, name: str, content: bytes = b"") -> Path:
    """Writes a file as the hub's library stores it, and returns its path."""
    folder, commit = cache / f"models--{repository.replace('/', '--')}", "0" * 40
    path = folder / "snapshots" / commit / name
    for file, text in ((path, content), (folder / "refs" / "main", commit.encode())):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text)
    return path
