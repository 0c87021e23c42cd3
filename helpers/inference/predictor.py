"""From image files to what a model says of them: what captioning and answering share."""

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
from dataset.collate import collate
from dataset.images import read_image
from dataset.samples import ImageConfig
from experts.registry import Backends
from helpers.checkpoints.load import LoadedModel, load_model, prepare_inputs, size_name
from helpers.inference.image_cache import AnyImage, Images, LooseImages, is_one
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
AHEAD = 32  # batches of an iterator that are labelled together: their networks are loaded once
EXPERTS_FILE = ROOT / "configs" / "experts.yaml"  # says which networks label where a model does not
SCENES_ONLY = "This model knows Scenes only, rendered pictures of solids; of a photograph it tells nonsense."


@dataclass(frozen=True)
class Prediction:
    """What a model says of an image.

    Attributes:
        text: the caption or the answer.
        score: of a caption or a chosen answer its mean log-probability, see `Ranking`; of a written answer
            what `PrismerVQA.generate` says.
        ranked: of given answers those that were scored in full, with their scores, the best first.
        attribution: what the text was read from, if that was asked for.
    """

    text: str
    score: float
    ranked: tuple[tuple[str, float], ...] = ()
    attribution: Attribution | None = field(default=None, compare=False, repr=False)


class Predictor(Generic[M]):
    """A model with all that it takes to go from image files to texts.

    Where images can be given, one gets one thing back, several get a list. An iterator gets an iterator,
    which reads `AHEAD` batches at a time: the images may be more than there is room for. An image is a
    file's name, its content, an open file, or a Pillow image.

    Where `experts` can be given, these of the model's experts are used, and the others have no part in what
    it sees; None: all of them.

    Args:
        loaded: the model.
        backends: for each expert that is not to be labelled as the model's description says, or else
            `configs/experts.yaml`, the network that makes its labels, as there.
        cache: a folder where labels are kept, so that the next run need not make them; None: they go with
            this object.
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
        self._images = LooseImages(cache)

    def __repr__(self) -> str:
        network = self.model.config
        size = sum(parameter.numel() for parameter in self.model.parameters())
        experts = ", ".join(network.experts) or "none"
        name = f"{type(self).__name__}({size_name(network)}, {size:,} parameters"
        side = f"{network.image_resolution} pixels"
        return f"{name}, {side}, experts: {experts}; on {self.accelerator.device})"

    @classmethod
    def from_pretrained(cls, name: str | Path, *, backends: Backends | None = None, cache: Path | None = None) -> Self:
        """Loads a checkpoint's folder, or fetches a model from the hub; the rest as for the class."""
        return cls(load_model(cls.network, find_folder(name)), backends, cache)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        license: str | None = None,
        metrics: Mapping[str, float] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Writes a folder that `from_pretrained` reads and that needs no other file, see `publish.py`.

        Args:
            folder: made if it is not there.
            license: of the weights, as the hub abbreviates it, for the model card.
            metrics: scores by name, for the model card.
            overwrite: replace files in the folder that this did not write.

        Raises:
            UserError: there are such files.
        """
        card = Card(self.card.task, self.card.example, license, metrics or {})
        write_folder(self.loaded, Path(folder), type(self).__name__, card, overwrite)

    def push_to_hub(
        self, repository: str, *, private: bool | None = None, token: str | None = None, **card: Any
    ) -> str:
        """Puts the model on the hub, to be loaded by `from_pretrained(repository)`.

        Args:
            repository: `<user>/<name>`, made if it is not there.
            private: whether a new one is.
            token: None takes that of `hf auth login`.
            card: `license` and `metrics`, as for `save_pretrained`.

        Returns:
            Its address.
        """
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, **card)
            return push_folder(Path(folder), repository, private=private, token=token)

    def label(
        self, images: Images, experts: Sequence[str] | None = None
    ) -> LabelMaps | list[LabelMaps] | Iterator[LabelMaps]:
        """What the model's experts see in images: label maps of their sizes, by expert (docs/labels.md)."""

        def read(images: list[AnyImage], store: LooseImages) -> list[LabelMaps]:
            names = store.add(images, self.backends(experts))
            reader = self.image_config(store.labels, experts).labels()
            sizes = [read_image(store.images / name).size for name in names]
            return [reader.read(Path(name).stem, size)[0] for name, size in zip(names, sizes, strict=True)]

        return self._of_each(images, 1, read)

    def _of_each(
        self, images: Images, batch_size: int, find: Callable[[list[AnyImage], LooseImages], list[T]]
    ) -> T | list[T] | Iterator[T]:
        """What `find` says of images, given some of them and where to put them: see the class."""
        if is_one(images):
            return find([images], self._images)[0]
        if not isinstance(images, Iterator):
            return find(list(images), self._images)
        several = iter(lambda: list(islice(images, AHEAD * batch_size)), [])
        # Without a cache, copies and labels go when they have been used.
        return (each for some in several for each in find(some, LooseImages(self._cache)))

    @property
    def limits(self) -> str:
        """What a user must know of the model's data, in one sentence; empty if there is nothing."""
        has_seen_scenes_only = (self.loaded.class_tables / "scenes.npz").is_file()
        return SCENES_ONLY if has_seen_scenes_only else ""

    def experts(self, chosen: Sequence[str] | None = None) -> tuple[str, ...]:
        """The model's experts, in its order; only the chosen ones, if some are.

        Raises:
            UserError: one of them is none of the model's.
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
        """For each of the experts, the network that makes its labels.

        Raises:
            UserError: nothing names one.
        """
        wanted = self.experts(experts)
        if missing := [name for name in wanted if name not in self.known_backends]:
            raise UserError(f"no network labels {', '.join(missing)}; name one in `backends`")
        return {name: self.known_backends[name] for name in wanted}

    @cached_property
    def known_backends(self) -> Backends:
        """By expert, all the networks that something names: what was given, the model, the config."""
        return read_yaml(EXPERTS_FILE)["backends"] | self.usage.backends | self._given

    def _dataset(
        self, images: Sequence[AnyImage], experts: Sequence[str] | None, store: LooseImages
    ) -> CaptionDataset:
        names = store.add(images, self.backends(experts))
        return store.dataset(names, self.image_config(store.labels, experts))

    def _with_attribution(
        self,
        predictions: Sequence[Prediction],
        inputs: Inputs,
        starts: Sequence[Sequence[int]],
        texts: Sequence[str],
    ) -> list[Prediction]:
        """Predictions with what they were read from; the rest is for `find_attribution`."""
        found = find_attribution(self.model, inputs, starts, texts)
        return [replace(each, attribution=told) for each, told in zip(predictions, found, strict=True)]

    def _predictions(
        self,
        dataset: CaptionDataset,
        batch_size: int,
        predict: Callable[[Inputs, list[int]], list[Prediction]],
    ) -> Iterator[tuple[str, Prediction]]:
        """Each readable image of a data set, with what `predict` says of it, given inputs and indices.

        An image of which the network's output is not finite counts as one that cannot be read.
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

    def every(self, dataset: CaptionDataset, found: Iterator[tuple[str, Prediction]]) -> list[Prediction]:
        """What is said of each image of a data set, all of which can be read.

        Raises:
            UserError: the network's output of an image is not finite.
        """
        predictions = [prediction for _, prediction in found]
        if len(lost := dataset.unreadable):
            where = f"image {int(lost[0]) + 1} of {len(dataset)}"
            raise UserError(f"{where}: the network's output is not finite; use other weights")
        return predictions
