"""Which records go into which shard."""

import os
from dataclasses import dataclass
from pathlib import Path

from dataset.images import list_images
from dataset.samples import open_images
from dataset.shards.shard_folder import ShardFolder
from dataset.string_array import key_of

BESIDE = (".txt", ".json")  # of an image, as img2dataset writes them


@dataclass(frozen=True)
class Shard:
    """A shard to be: the files of each of its records, by key."""

    name: str
    records: dict[str, list[str]]


def plan_shards(images: Path, leave_out: Path, size: int) -> tuple[list[Shard], bool]:
    """Splits the images of a folder into shards, or takes over the shards that it holds.

    Args:
        images: the folder.
        leave_out: a folder in it that is not meant.
        size: records of a shard.

    Returns:
        The shards, and whether the images are packed already.

    Raises:
        UserError: no images, or two that would share a key.
    """
    files = open_images(images)
    if isinstance(files, ShardFolder):
        return [Shard(name, records_of(files, number)) for number, name in enumerate(files.shards)], True
    names = list_images(images, leave_out)
    return [
        Shard(f"{number:05d}.tar", {key_of(name): _record(images, name) for name in chunk})
        for number, chunk in enumerate(_chunks(names, size))
    ], False


def _chunks(names: list[str], size: int) -> list[list[str]]:
    return [names[start : start + size] for start in range(0, len(names), size)]


def _record(images: Path, name: str) -> list[str]:
    key = key_of(name)
    return [name, *(key + suffix for suffix in BESIDE if os.path.isfile(f"{images}/{key}{suffix}"))]


def records_of(files: ShardFolder, number: int) -> dict[str, list[str]]:
    """The files of each record of a shard, by key, in the tar's order."""
    found: dict[str, list[str]] = {}
    for name in files.index(number).names:
        found.setdefault(key_of(name), []).append(name)
    return found
