"""The models in a few lines, on image files.

captioner = Captioner.from_pretrained("nano/caption_prismer_nano")  # a folder, or a name on the hub
captions = captioner.caption(["a.jpg", "b.png"])
answers = Answerer.from_pretrained("nano/vqa_prismer_nano").answer(["a.jpg"], "What color is the cube?")
depth = captioner.label(["a.jpg"])[0]["depth"]
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from accelerate.utils import send_to_device
from PIL import Image
from torch.utils.data import DataLoader

from dataset.captions import CaptionDataset
from dataset.collate import collate
from dataset.images import read_image
from dataset.samples import Visual
from dataset.text import clean_question
from helpers.caption_evaluation import as_sentence
from helpers.config import ROOT, Backends, read_yaml
from helpers.evaluation import Experts
from helpers.loose_images import AnyImage, LooseImages
from helpers.models import LoadedModel, load_model, prepare_inputs
from helpers.processes import start_accelerator
from helpers.publish import Card, find_folder, push_folder, write_folder
from model.captioning import PrismerCaption
from model.errors import UserError
from model.prismer import Prismer
from model.vqa import PrismerVQA

M = TypeVar("M", bound=Prismer)
EXPERTS_FILE = ROOT / "configs" / "experts.yaml"  # says which networks label where a model does not


@dataclass(frozen=True)
class Prediction:
    """What a model says of an image.

    Attributes:
        text: the caption or the answer.
        score: of a caption or a chosen answer its mean log-probability, see `Ranking`; of a written answer
            what `PrismerVQA.generate` says.
        ranked: of given answers those that were scored in full, with their scores, the best first.
    """

    text: str
    score: float
    ranked: tuple[tuple[str, float], ...] = ()


class Predictor(Generic[M]):
    """A model with all that it takes to go from image files to texts.

    Args:
        loaded: the model.
        backends: for each expert that is not to be labelled as the model's description says, or else
            `configs/experts.yaml`, the network that makes its labels, as there.
        cache: a folder where labels are kept, so that the next run need not make them; None: they go with
            this object.
    """

    network: ClassVar[type[Prismer]]
    card: ClassVar[Card]

    def __init__(
        self, loaded: LoadedModel[M], backends: Backends | None = None, cache: Path | None = None
    ) -> None:
        self.accelerator = start_accelerator(None)
        self.loaded, self.usage = loaded, loaded.usage
        self.model: M = loaded.model.to(self.accelerator.device)
        inputs = prepare_inputs(self.model.config.experts, loaded.class_tables)
        self._prepare = inputs.to(self.accelerator.device)
        self._given = backends or {}
        self._images = LooseImages(cache)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, backends: Backends | None = None, cache: Path | None = None
    ) -> Self:
        """Loads a checkpoint's folder, or fetches a model from the hub; the rest as for the class."""
        return cls(load_model(cls.network, find_folder(name)), backends, cache)

    def save_pretrained(
        self, folder: str | Path, *, license: str | None = None, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Writes a folder that `from_pretrained` reads and that needs no other file, see `helpers.publish`.

        Args:
            folder: made if it is not there.
            license: of the weights, as the hub abbreviates it, for the model card.
            metrics: scores by name, for the model card.
        """
        card = Card(self.card.task, self.card.example, license, metrics or {})
        write_folder(self.loaded, Path(folder), type(self).__name__, card)

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

    def label(self, images: Sequence[AnyImage]) -> list[dict[str, Image.Image]]:
        """What the model's experts see in images: label maps of their sizes, by expert (docs/labels.md)."""
        names = self._images.add(images, self.backends)
        reader = self.visual(self._images.labels).labels()
        sizes = [read_image(self._images.images / name).size for name in names]
        return [reader.read(Path(name).stem, size)[0] for name, size in zip(names, sizes, strict=True)]

    def visual(self, label_path: Path) -> Visual:
        """How the model reads images and their labels."""
        network = self.model.config
        return Visual(
            label_path=label_path,
            experts=network.experts,
            image_resolution=network.image_resolution,
            label_resolution=network.label_resolution,
            compat=network.compat,
        )

    @cached_property
    def backends(self) -> Backends:
        """For each of the model's experts, the network that makes its labels."""
        experts = self.model.config.experts
        known = read_yaml(EXPERTS_FILE)["backends"] | self.usage.backends | self._given
        if missing := [name for name in experts if name not in known]:
            raise UserError(f"no network labels {', '.join(missing)}; name one in `backends`")
        return {name: known[name] for name in experts}

    def _dataset(self, images: Sequence[AnyImage]) -> CaptionDataset:
        names = self._images.add(images, self.backends)
        return self._images.dataset(names, self.visual(self._images.labels))

    def _predictions(
        self,
        dataset: CaptionDataset,
        batch_size: int,
        predict: Callable[[Experts, list[int]], list[Prediction]],
    ) -> Iterator[tuple[str, Prediction]]:
        """Each readable image of a data set, with what `predict` says of it, given inputs and indices."""
        for batch in DataLoader(dataset, batch_size, collate_fn=collate):
            if batch is None:  # no image of it can be read
                continue
            with torch.inference_mode(), self.accelerator.autocast():
                experts = self._prepare(send_to_device(batch, self.accelerator.device))
                predictions = predict(experts, batch["index"].tolist())
            yield from zip(batch["image"], predictions, strict=True)


class Captioner(Predictor[PrismerCaption]):
    """Captions images."""

    network = PrismerCaption
    card = Card("image-to-text", 'captions = model.caption(["a.jpg", "b.png"])')

    def caption(self, images: Sequence[AnyImage], batch_size: int = 8) -> list[Prediction]:
        """Captions image files, or images in memory."""
        return [prediction for _, prediction in self.captions(self._dataset(images), batch_size)]

    def captions(self, dataset: CaptionDataset, batch_size: int) -> Iterator[tuple[str, Prediction]]:
        """The readable images of a data set with their captions."""

        def predict(experts: Experts, indices: list[int]) -> list[Prediction]:
            usage = self.usage
            texts, scores = self.model.generate(experts, usage.prefix, **usage.decoding, return_scores=True)
            return [Prediction(as_sentence(text), score) for text, score in zip(texts, scores, strict=True)]

        return self._predictions(dataset, batch_size, predict)


class Answerer(Predictor[PrismerVQA]):
    """Answers questions about images."""

    network = PrismerVQA
    card = Card("visual-question-answering", 'answers = model.answer(["a.jpg"], "What color is the cube?")')

    def answer(
        self,
        images: Sequence[AnyImage],
        questions: str | Sequence[str],
        answers: Sequence[str] | None = None,
        k: int | None = None,
        batch_size: int = 8,
    ) -> list[Prediction]:
        """Answers a question about each image.

        Args:
            images: files, or images in memory.
            questions: one for each image, or one for all.
            answers: choose from these; None: from those of the model's task, or if it has none, write freely,
                as `[]` always does.
            k: how many of them to score in full; None: as many as the model's task does.
            batch_size: images at once.
        """
        questions = [questions] * len(images) if isinstance(questions, str) else questions
        if len(questions) != len(images):
            raise UserError(f"{len(questions)} questions for {len(images)} images; give one for each, or one")
        found = self.answers(self._dataset(images), questions, batch_size, answers, k)
        return [prediction for _, prediction in found]

    def answers(
        self,
        dataset: CaptionDataset,
        questions: Sequence[str],
        batch_size: int,
        answers: Sequence[str] | None = None,
        k: int | None = None,
    ) -> Iterator[tuple[str, Prediction]]:
        """The readable images of a data set with the answers to their questions, otherwise as `answer`."""
        choices = self.usage.answers if answers is None else list(answers)

        def predict(experts: Experts, indices: list[int]) -> list[Prediction]:
            asked = [clean_question(questions[index]) for index in indices]
            if not choices:
                found = self.model.generate(experts, asked, return_scores=True)
                return [Prediction(text, score) for text, score in zip(*found, strict=True)]
            ranking = self.model.rank(experts, asked, choices, self.usage.k if k is None else k)
            rows = zip(ranking.kept.tolist(), ranking.scores.tolist(), strict=True)
            return [_chosen([(choices[i], score) for i, score in zip(*row, strict=True)]) for row in rows]

        return self._predictions(dataset, batch_size, predict)


def _chosen(scored: list[tuple[str, float]]) -> Prediction:
    ranked = sorted(scored, key=lambda pair: pair[1], reverse=True)
    return Prediction(*ranked[0], ranked=tuple(ranked))
