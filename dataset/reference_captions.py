"""Reference captions in a file beside a test list: COCO's format, and NoCaps' with domains."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.strict_json import is_unicode
from dataset.image_list import read_json

ImageId = int | str
DOMAINS = ("in-domain", "near-domain", "out-domain")  # of NoCaps' images, relative to COCO


def read_ground_truth(path: Path) -> dict[ImageId, list[str]]:
    """The references by image id, from a file in COCO's caption format."""
    return _references(read_json(path), path)


def _references(content: Any, path: Path) -> dict[ImageId, list[str]]:
    references: dict[ImageId, list[str]] = {}
    try:
        pairs = [(annotation["image_id"], annotation["caption"]) for annotation in content["annotations"]]
    except (KeyError, TypeError):
        raise UserError(f"{path}: not in COCO's caption format ('annotations' of image_id, caption)") from None
    for number, (image, caption) in enumerate(pairs, start=1):
        if not isinstance(image, int | str) or isinstance(image, bool):
            raise UserError(f"{path}: annotation {number}: 'image_id' must be a number, found {image!r}")
        if not isinstance(caption, str) or not is_unicode(caption):
            raise UserError(f"{path}: annotation {number}: 'caption' must be text, found {caption!r}")
        references.setdefault(image, []).append(caption)
    return references


def read_nocaps(path: Path) -> tuple[dict[ImageId, list[str]], dict[ImageId, str]]:
    """Reads `nocaps_val_4500_captions.json`, the annotations of the validation split.

    Args:
        path: a file in COCO's caption format whose images have a `domain`. Its image ids are the `img_id`
            of the list `nocaps_val.json`.

    Returns:
        The references by image id, and the domain (one of `DOMAINS`) of each of these images.

    Raises:
        UserError: the file is missing, in another format, or has no domain for an image.
    """
    content = read_json(path)
    references = _references(content, path)
    try:
        listed = {image["id"]: image.get("domain") for image in content["images"]}
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: not NoCaps' annotations ('images' of id, domain); fetch it again") from None
    domains = {image: listed.get(image) for image in references}
    if without := [image for image, domain in domains.items() if domain not in DOMAINS]:
        raise UserError(
            f"{path}: the domain of image {without[0]} is '{domains[without[0]]}', not one of "
            f"{', '.join(DOMAINS)}; use NoCaps' own nocaps_val_4500_captions.json"
        )
    return references, domains


def check_references(references: Collection[ImageId], listed: Sequence[ImageId], path: Path) -> None:
    """Refuses, before any work, a file of references that lacks images of the test list."""
    missing = [image for image in listed if image not in references]
    if not missing:
        return
    if str(missing[0]) in {str(image) for image in references}:
        kinds = ("texts", "numbers") if isinstance(missing[0], int) else ("numbers", "texts")
        raise UserError(f"{path}: image ids are {kinds[0]} there and {kinds[1]} in the list; write them alike")
    raise UserError(
        f"{path}: {len(missing)} of the {len(listed)} listed images have no caption there (first: "
        f"{missing[0]}); take the file that belongs to the list, or remove it to caption without scores"
    )
