"""Experts that stay in memory, for images that come one at a time. Data sets are labelled by `runner`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from experts.base import Expert, Target
from experts.finite import decode_one, predict_each
from experts.label_writer import write_label
from experts.preflight import check_usable, unusable
from experts.registry import WEIGHTS, passes
from experts.runner import Precision, find_setting


class ExpertPool:
    """Networks that are loaded when they are first needed, and kept. The arguments are those of `generate_labels`.

    Raises:
        UserError: an unknown expert, backend or option; an expert that cannot run, see `check_usable`.
    """

    def __init__(
        self,
        backends: Mapping[str, str | Mapping[str, Any]],
        weights: Path | str = WEIGHTS,
        precision: Precision = "auto",
    ) -> None:
        check_usable(list(backends), unusable(list(backends), backends, Path(weights)))
        self._jobs = passes(backends, batch_size=1)
        self._setting = find_setting(weights, precision)
        self._loaded: dict[tuple[str, ...], Expert] = {}  # by modalities

    def label(self, picture: Image.Image, key: str, save_path: Path) -> Iterator[str]:
        """Labels an RGB image; yields the name of each expert as soon as `<save_path>/<expert>/<key>.png` is written.

        Raises:
            NotFinite: the output of a network is not finite.
        """
        target = Target((picture.height, picture.width), key, save_path)
        for job in self._jobs:
            if job.modalities not in self._loaded:
                self._loaded[job.modalities] = job.module.load(job.modalities, job.options, self._setting)
            expert = self._loaded[job.modalities]
            (raw,) = predict_each(expert, [expert.prepare(picture)])
            labels = decode_one(expert, raw, target)
            for name in job.modalities:
                write_label(save_path, name, key, labels[name])
                yield name
