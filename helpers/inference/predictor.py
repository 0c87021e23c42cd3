"""What captioning and answering share: from image files to predictions."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from accelerate.utils import send_to_device
from PIL import Image
from torch.utils.data import DataLoader

from common.errors import UserError
from common.files import ROOT
from common.yaml_config import read_yaml
from dataset.captions import CaptionDataset
from dataset.class_tables import class_counts
from dataset.images import read_image
from dataset.loader import collate
from dataset.samples import ImageConfig
from experts.registry import Backends
from helpers.checkpoints.load import LoadedModel, load_model, prepare_inputs, size_name
from helpers.inference.image_cache import AnyImage, ImageCache, Images, is_one
from helpers.inference.publish import Card, find_folder, push_folder, write_folder
from helpers.performance.bf16_blocks import lower_blocks
from helpers.training.distribution.processes import start_accelerator
from model.attribution import Attribution, find_attribution
from model.inputs import Inputs
from model.prismer import Prismer

logger = logging.getLogger(__name__)
M = TypeVar("M", bound=Prismer)
T = TypeVar("T")
LabelMaps = dict[str, Image.Image]
AHEAD = 32  # batches of an iterator that are labelled together, so experts are loaded once for them
EXPERTS_FILE = ROOT / "configs" / "experts.yaml"  # the default network of each expert
SCENES_ONLY = "This model knows Scenes only, rendered pictures of solids; it does not work on photographs."


@dataclass(frozen=True)
class Prediction:
    """A caption or an answer.

    Attributes:
        text: the caption or the answer.
        score: mean log-probability of a caption or a chosen answer, see `Ranking`; of a written answer see
            `PrismerVQA.generate`.
        ranked: the answers that were scored in full, with their scores, the best first.
        attribution: on what the text depends, if requested.
    """

    text: str
    score: float
    ranked: tuple[tuple[str, float], ...] = ()
    attribution: Attribution | None = field(default=None, compare=False, repr=False)


class Predictor(Generic[M]):
    """A model that goes from image files to texts.

    An image is a file's name, its content, an open file, or a Pillow image. One image gives one prediction,
    several give a list. An iterator gives an iterator, which reads `AHEAD` batches at a time.

    `experts` selects some of the model's experts; the others are not used. None: all of them.

    Args:
        loaded: the model.
        backends: the network of each expert, where it differs from the model's description or
            `configs/experts.yaml`.
        cache: a folder that keeps labels for the next run; None: they are deleted with this object.
    """

    network: ClassVar[type[Prismer]]
    card: ClassVar[Card]

    def __init__(self, loaded: LoadedModel[M], backends: Backends | None = None, cache: Path | None = None) -> None:
        self.accelerator = start_accelerator(None)
        self.loaded, self.usage = loaded, loaded.usage
        self.model: M = loaded.model.to(self.accelerator.device)
        lower_blocks(self.model)
        inputs = prepare_inputs(self.model.config.experts, loaded.class_tables)
        self._prepare = inputs.to(self.accelerator.device)
        self._given = backends or {}
        self._cache = cache
        self._images = ImageCache(cache)

    def __repr__(self) -> str:
        network = self.model.config
        size = sum(parameter.numel() for parameter in self.model.parameters())
        experts = ", ".join(network.experts) or "none"
        name = f"{type(self).__name__}({size_name(network)}, {size:,} parameters"
        side = f"{network.image_resolution} pixels"
        return f"{name}, {side}, experts: {experts}; on {self.accelerator.device})"

    @classmethod
    def from_pretrained(cls, name: str | Path, *, backends: Backends | None = None, cache: Path | None = None) -> Self:
        """Loads a checkpoint's folder, or a model from the hub; other arguments as for the class."""
        return cls(load_model(cls.network, find_folder(name)), backends, cache)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        license: str | None = None,
        metrics: Mapping[str, float] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Writes a self-contained folder for `from_pretrained`, see `publish.py`.

        Args:
            folder: created if missing.
            license: of the weights, as the hub abbreviates it, for the model card.
            metrics: scores by name, for the model card.
            overwrite: replace files that this did not write.

        Raises:
            UserError: the folder holds such files.
        """
        card = Card(self.card.task, self.card.example, license, metrics or {})
        write_folder(self.loaded, Path(folder), type(self).__name__, card, overwrite)

    def push_to_hub(
        self, repository: str, *, private: bool | None = None, token: str | None = None, **card: Any
    ) -> str:
        """Pushes the model to the hub, for `from_pretrained(repository)`, and returns its address.

        Args:
            repository: `<user>/<name>`, created if missing.
            private: whether a new repository is private.
            token: None: the one of `hf auth login`.
            card: `license` and `metrics`, as for `save_pretrained`.
        """
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, **card)
            return push_folder(Path(folder), repository, private=private, token=token)

    def label(
        self, images: Images, experts: Sequence[str] | None = None
    ) -> LabelMaps | list[LabelMaps] | Iterator[LabelMaps]:
        """The label maps of images by expert, in the size of the image (docs/labels.md)."""

        def read(images: list[AnyImage], store: ImageCache) -> list[LabelMaps]:
            names = store.add(images, self.backends(experts))
            reader = self.image_config(store.labels, experts).labels()
            sizes = [read_image(store.images / name).size for name in names]
            return [reader.read(Path(name).stem, size)[0] for name, size in zip(names, sizes, strict=True)]

        return self._of_each(images, 1, read)

    def _of_each(
        self, images: Images, batch_size: int, find: Callable[[list[AnyImage], ImageCache], list[T]]
    ) -> T | list[T] | Iterator[T]:
        """Calls `find` with some images and a place for their labels: for one image, several or an iterator."""
        if is_one(images):
            return find([images], self._images)[0]
        if not isinstance(images, Iterator):
            return find(list(images), self._images)
        several = iter(lambda: list(islice(images, AHEAD * batch_size)), [])
        # Without a cache, each group's copies and labels are deleted after use.
        return (each for some in several for each in find(some, ImageCache(self._cache)))

    @property
    def limits(self) -> str:
        """A sentence on the limits of the model's data; empty if there are none."""
        has_seen_scenes_only = (self.loaded.class_tables / "scenes.npz").is_file()
        return SCENES_ONLY if has_seen_scenes_only else ""

    def experts(self, chosen: Sequence[str] | None = None) -> tuple[str, ...]:
        """The model's experts, or those of them that are chosen, in the model's order.

        Raises:
            UserError: the model does not have a chosen expert.
        """
        known = self.model.config.experts
        if isinstance(chosen, str):
            raise UserError(f"experts must be a list of names, got '{chosen}'")
        for name in chosen or ():
            if name not in known:
                there = f"it has: {', '.join(known)}" if known else "it has none, as every PrismerZ"
                raise UserError(f"the model was not trained with an expert '{name}'; {there}")
        return tuple(name for name in known if chosen is None or name in chosen)

    def image_config(self, label_path: Path, experts: Sequence[str] | None = None) -> ImageConfig:
        """How the model reads images and their labels."""
        network = self.model.config
        return ImageConfig(
            label_path=label_path,
            experts=self.experts(experts),
            image_resolution=network.image_resolution,
            label_resolution=network.label_resolution,
            compat=network.compat,
            classes=class_counts(self.loaded.class_tables, self.experts(experts)),
        )

    def backends(self, experts: Sequence[str] | None = None) -> Backends:
        """The network of each expert.

        Raises:
            UserError: an expert has none.
        """
        wanted = self.experts(experts)
        if missing := [name for name in wanted if name not in self.known_backends]:
            raise UserError(f"no network labels {', '.join(missing)}; name one in `backends`")
        return {name: self.known_backends[name] for name in wanted}

    @cached_property
    def known_backends(self) -> Backends:
        """The known networks by expert: given ones, else the model's, else those of the config."""
        return read_yaml(EXPERTS_FILE)["backends"] | self.usage.backends | self._given

    def _predict_images(
        self,
        images: Images,
        batch_size: int,
        experts: Sequence[str] | None,
        predict: Callable[[CaptionDataset], Iterator[tuple[str, Prediction]]],
    ) -> Prediction | list[Prediction] | Iterator[Prediction]:
        """Labels images and predicts each of them, all of which must be readable."""

        def find(images: list[AnyImage], store: ImageCache) -> list[Prediction]:
            names = store.add(images, self.backends(experts))
            dataset = store.dataset(names, self.image_config(store.labels, experts))
            return self.require_all(dataset, predict(dataset))

        return self._of_each(images, batch_size, find)

    def _with_attribution(
        self, predictions: Sequence[Prediction], inputs: Inputs, starts: Sequence[Sequence[int]], texts: Sequence[str]
    ) -> list[Prediction]:
        """Adds the attribution; the other arguments are those of `find_attribution`."""
        found = find_attribution(self.model, inputs, starts, texts)
        return [replace(each, attribution=attribution) for each, attribution in zip(predictions, found, strict=True)]

    def _predictions(
        self, dataset: CaptionDataset, batch_size: int, predict: Callable[[Inputs, list[int]], list[Prediction]]
    ) -> Iterator[tuple[str, Prediction]]:
        """Each readable image of a data set with its prediction, which `predict` makes from inputs and indices.

        An image counts as unreadable if the network's output for it is not finite.
        """
        for batch in DataLoader(dataset, batch_size, collate_fn=collate):
            if batch is None:  # no image of it can be read
                continue
            with torch.inference_mode(), self.accelerator.autocast():
                inputs = self._prepare(send_to_device(batch, self.accelerator.device))
                predictions = predict(inputs, batch["index"].tolist())
            for index, image, found in zip(batch["index"], batch["image"], predictions, strict=True):
                if math.isfinite(found.score):
                    yield image, found
                else:
                    logger.warning("skipped %s: the network's output is not finite", image)
                    dataset.recall_unreadable(index)

    def require_all(self, dataset: CaptionDataset, found: Iterator[tuple[str, Prediction]]) -> list[Prediction]:
        """The predictions of a data set, one for each image.

        Raises:
            UserError: the network's output for an image is not finite.
        """
        predictions = [prediction for _, prediction in found]
        if len(lost := dataset.unreadable):
            where = f"image {int(lost[0]) + 1} of {len(dataset)}"
            raise UserError(f"{where}: the network's output is not finite; use other weights")
        return predictions
