"""The images of a data set, and the name of each one's labels."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dataset.images import list_images


class ImageFile(NamedTuple):
    """An image and its labels' path below `<save_path>/<expert>/`, without suffix."""

    path: str
    label: str


def images_to_label(
    data_path: Path, datasets: Sequence[str] = (), prefix: str = "", leave_out: Path | None = None
) -> list[ImageFile]:
    """Lists the images below a folder with their labels' paths, which mirror theirs.

    Args:
        data_path: labels mirror the images' paths below it.
        datasets: the folders below `data_path` to look into; none means all of it.
        prefix: put before the labels' paths.
        leave_out: a folder whose images are not meant, such as the labels.

    Raises:
        UserError: a folder that is not there, no image in one, or two images that would share a label.
    """
    found: dict[str, str] = {}
    for dataset in datasets or [""]:
        folder = data_path / dataset
        labels = os.path.normpath(os.path.join(prefix, dataset)).replace(os.sep, "/")
        start = "" if labels == "." else f"{labels}/"
        for name in list_images(folder, leave_out):
            found[start + os.path.splitext(name)[0]] = f"{folder}/{name}"
    return [ImageFile(found[label], label) for label in sorted(found)]
