"""The images that labels were made of, so that no image gets the labels of another one with the same name.

demo.py keeps the SHA-256 of each image in `<save_path>/image_hashes.json`, by the name of its labels. Labels
without a hash, such as those of experts/generate.py, are trusted.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from common.errors import UserError
from common.files import open_file, write_json
from common.strict_json import parse_json
from experts.dataset_images import ImageFile
from experts.label_writer import cannot_write, remove_label
from model.modalities import MODALITIES

HASHES = "image_hashes.json"


class ImageHashes:
    """The hashes of loose images, now and when they were labelled.

    Args:
        images: the images; unreadable ones have no hash.
        save_path: the label folder.

    Attributes:
        changed: images that differ from those that the labels were made of.

    Raises:
        UserError: the file of hashes is damaged.
    """

    def __init__(self, images: Sequence[ImageFile], save_path: Path) -> None:
        self._save_path = save_path
        self._before = _read(save_path / HASHES)
        self._now: dict[str, str] = {}
        for image in images:
            with suppress(OSError), open_file(Path(image.path)) as file:
                self._now[image.label] = hashlib.file_digest(file, "sha256").hexdigest()
        self.changed = [
            image for image in images if (found := self._now.get(image.label)) != self._before.get(image.label, found)
        ]

    def update(self) -> None:
        """Removes the labels of the changed images, then notes all hashes. Labels are made after this.

        A run that is killed at any moment leaves no label beside the hash of another image.

        Raises:
            UserError: the label folder cannot be written to.
        """
        hashes = self._before | self._now
        try:
            for image in self.changed:
                for expert in MODALITIES:
                    remove_label(self._save_path, expert, image.label)
            if hashes != self._before:
                write_json(self._save_path / HASHES, hashes, indent=0)
        except OSError as error:
            raise cannot_write(self._save_path, error) from None


def _read(path: Path) -> dict[str, str]:
    try:
        hashes = parse_json(path.read_bytes())
        if not isinstance(hashes, dict):
            raise ValueError("is no JSON object")
        return hashes
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({error}); delete it, and labels whose images have changed") from None
