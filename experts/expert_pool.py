"""Experts that stay in memory, for images that come one at a time; a data set goes through `runner`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from experts.base import Expert, Target
from experts.finite import decode_one, predict_each
from experts.label_writer import write_label
from experts.preflight import check_usable, unusable
from experts.registry import passes
from experts.runner import WEIGHTS, Precision, find_setting


class KeptExperts:
    """Networks that are loaded when they first have something to label, and kept.

    Args:
        backends: for each expert, its network, as `experts.registry.passes` reads it.
        weights: folder of the released weight files.
        precision: of the networks, as for `generate_labels`.

    Raises:
        UserError: no such expert, backend or option; experts that cannot be run, see `check_usable`.
    """

    def __init__(
        self,
        backends: Mapping[str, str | Mapping[str, Any]],
        weights: Path | str = WEIGHTS,
        precision: Precision = "auto",
    ) -> None:
        check_usable(list(backends), unusable(list(backends), backends, Path(weights)))
        self._passes = passes(backends, batch_size=1)
        self._setting = find_setting(weights, precision)
        self._loaded: dict[int, Expert] = {}  # by the place of its pass

    def label(self, picture: Image.Image, key: str, save_path: Path) -> Iterator[str]:
        """Labels an image; yields the name of each expert as soon as its label is written.

        Args:
            picture: RGB.
            key: the label's path below `<save_path>/<expert>/`, without suffix.
            save_path: the label folder.

        Raises:
            NotFinite: a network's output is not finite.
        """
        target = Target((picture.height, picture.width), key, save_path)
        for place, work in enumerate(self._passes):
            if place not in self._loaded:
                self._loaded[place] = work.module.load(work.modalities, work.options, self._setting)
            expert = self._loaded[place]
            (raw,) = predict_each(expert, [expert.prepare(picture)])
            labels = decode_one(expert, raw, target)
            for name in work.modalities:
                write_label(save_path, name, key, labels[name])
                yield name
