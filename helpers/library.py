"""The models in a few lines, on image files.

captioner = Captioner.from_pretrained("nano/caption_prismer_nano")  # a folder, or a name on the hub
captions = captioner.caption(["a.jpg", "b.png"])
answers = Answerer.from_pretrained("nano/vqa_prismer_nano").answer(["a.jpg"], "What color is the cube?")
depth = captioner.label(["a.jpg"])[0]["depth"]
told = captioner.caption(["a.jpg"], experts=["depth", "edge"], evidence=True)[0].evidence
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from model.evidence import Evidence, find_evidence
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
        evidence: what the text was read from, if that was asked for.
    """

    text: str
    score: float
    ranked: tuple[tuple[str, float], ...] = ()
    evidence: Evidence | None = field(default=None, compare=False)


class Predictor(Generic[M]):
    """A model with all that it takes to go from image files to texts.

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

    def label(
        self, images: Sequence[AnyImage], experts: Sequence[str] | None = None
    ) -> list[dict[str, Image.Image]]:
        """What the model's experts see in images: label maps of their sizes, by expert (docs/labels.md)."""
        names = self._images.add(images, self.backends(experts))
        reader = self.visual(self._images.labels, experts).labels()
        sizes = [read_image(self._images.images / name).size for name in names]
        return [reader.read(Path(name).stem, size)[0] for name, size in zip(names, sizes, strict=True)]

    def experts(self, chosen: Sequence[str] | None = None) -> tuple[str, ...]:
        """The model's experts, in its order; only the chosen ones, if some are.

        Raises:
            UserError: one of them is none of the model's.
        """
        known = self.model.config.experts
        for name in chosen or ():
            if name not in known:
                there = f"it has: {', '.join(known)}" if known else "it has none, as every PrismerZ"
                raise UserError(f"the model was not trained with an expert '{name}'; {there}")
        return tuple(name for name in known if chosen is None or name in chosen)

    def visual(self, label_path: Path, experts: Sequence[str] | None = None) -> Visual:
        """How the model reads images and their labels."""
        network = self.model.config
        return Visual(
            label_path=label_path,
            experts=self.experts(experts),
            image_resolution=network.image_resolution,
            label_resolution=network.label_resolution,
            compat=network.compat,
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

    def _dataset(self, images: Sequence[AnyImage], experts: Sequence[str] | None) -> CaptionDataset:
        names = self._images.add(images, self.backends(experts))
        return self._images.dataset(names, self.visual(self._images.labels, experts))

    def _with_evidence(
        self,
        predictions: Sequence[Prediction],
        experts: Experts,
        starts: Sequence[Sequence[int]],
        texts: Sequence[str],
    ) -> list[Prediction]:
        """Predictions with what they were read from; the rest is for `find_evidence`."""
        found = find_evidence(self.model, experts, starts, texts)
        return [replace(each, evidence=told) for each, told in zip(predictions, found, strict=True)]

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

    def caption(
        self,
        images: Sequence[AnyImage],
        batch_size: int = 8,
        *,
        experts: Sequence[str] | None = None,
        evidence: bool = False,
        **decoding: int,
    ) -> list[Prediction]:
        """Captions image files, or images in memory; otherwise as `captions`."""
        dataset = self._dataset(images, experts)
        found = self.captions(dataset, batch_size, evidence=evidence, **decoding)
        return [prediction for _, prediction in found]

    def captions(
        self, dataset: CaptionDataset, batch_size: int, *, evidence: bool = False, **decoding: int
    ) -> Iterator[tuple[str, Prediction]]:
        """The readable images of a data set with their captions.

        Args:
            dataset: read as `visual` says.
            batch_size: images at once.
            evidence: whether to find out what the captions were read from (`model/evidence.py`).
            decoding: settings of the beam search that are not to be those of the model's task.
        """
        prefix, settings = self.usage.prefix, self.usage.decoding | decoding

        def predict(experts: Experts, indices: list[int]) -> list[Prediction]:
            texts, scores = self.model.generate(experts, prefix, **settings, return_scores=True)
            found = [Prediction(as_sentence(text), score) for text, score in zip(texts, scores, strict=True)]
            if not evidence:
                return found
            starts = [self.model.start_ids(prefix)] * len(texts)
            return self._with_evidence(found, experts, starts, [" " * bool(prefix) + text for text in texts])

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
        *,
        experts: Sequence[str] | None = None,
        evidence: bool = False,
        **decoding: int,
    ) -> list[Prediction]:
        """Answers a question about each image.

        Args:
            images: files, or images in memory.
            questions: one for each image, or one for all.
            answers: choose from these; None: from those of the model's task, or if it has none, write freely,
                as `[]` always does.
            k: how many of them to score in full; None: as many as the model's task does.
            batch_size: images at once.
            experts: see the class.
            evidence: whether to find out what the answers were read from (`model/evidence.py`).
            decoding: `num_beams`, `max_new` and `min_new`, where answers are written freely.
        """
        questions = [questions] * len(images) if isinstance(questions, str) else questions
        if len(questions) != len(images):
            raise UserError(f"{len(questions)} questions for {len(images)} images; give one for each, or one")
        dataset = self._dataset(images, experts)
        found = self.answers(dataset, questions, batch_size, answers, k, evidence=evidence, **decoding)
        return [prediction for _, prediction in found]

    def answers(
        self,
        dataset: CaptionDataset,
        questions: Sequence[str],
        batch_size: int,
        answers: Sequence[str] | None = None,
        k: int | None = None,
        *,
        evidence: bool = False,
        **decoding: int,
    ) -> Iterator[tuple[str, Prediction]]:
        """The readable images of a data set with the answers to their questions, otherwise as `answer`."""
        choices = self.usage.answers if answers is None else list(answers)
        if choices and decoding:
            raise UserError(
                f"this model chooses its answer among {len(choices)}, so there is no beam search to set "
                f"{' and '.join(decoding)} of; leave that out"
            )

        def predict(experts: Experts, indices: list[int]) -> list[Prediction]:
            asked = [clean_question(questions[index]) for index in indices]
            if choices:
                ranking = self.model.rank(experts, asked, choices, self.usage.k if k is None else k)
                rows = zip(ranking.kept.tolist(), ranking.scores.tolist(), strict=True)
                found = [
                    _chosen([(choices[i], score) for i, score in zip(*row, strict=True)]) for row in rows
                ]
            else:
                texts, scores = self.model.generate(experts, asked, **decoding, return_scores=True)
                found = [Prediction(text, score) for text, score in zip(texts, scores, strict=True)]
            if not evidence:
                return found
            starts = [self.model.question_ids(question) for question in asked]
            ends = self.model.ends([each.text for each in found])
            return self._with_evidence(found, experts, starts, [f" {end}" for end in ends])

        return self._predictions(dataset, batch_size, predict)


def _chosen(scored: list[tuple[str, float]]) -> Prediction:
    ranked = sorted(scored, key=lambda pair: pair[1], reverse=True)
    return Prediction(*ranked[0], ranked=tuple(ranked))
