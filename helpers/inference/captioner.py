"""The models in a few lines of Python, on image files.

captioner = Captioner.from_pretrained("nano/caption_prismer_nano")  # a folder, or a name on the hub
captions = captioner.caption(["a.jpg", "b.png"])
print(captioner.caption("c.jpg").text)  # one image, or an iterator of any number
answer = Answerer.from_pretrained("nano/vqa_prismer_nano").answer("a.jpg", "What color is the cube?")
depth = captioner.label("a.jpg")["depth"]
attribution = captioner.caption("a.jpg", experts=["depth", "edge"], attribution=True).attribution
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, repeat

from common.errors import UserError
from dataset.captions import CaptionDataset
from dataset.text import as_sentence, clean_question
from helpers.checkpoints.load import check_decoding
from helpers.inference.image_cache import Images, is_one
from helpers.inference.predictor import Prediction, Predictor
from helpers.inference.publish import Card
from model.beam_search import check_beams
from model.captioning import PrismerCaption, check_prefix
from model.inputs import Inputs
from model.vqa import PrismerVQA

CAPTION_DECODING = ("num_beams", "max_length", "min_length")
ANSWER_DECODING = ("num_beams", "max_new", "min_new")


class Captioner(Predictor[PrismerCaption]):
    """Captions images."""

    network = PrismerCaption
    card = Card("image-to-text", 'captions = model.caption(["a.jpg", "b.png"])')

    def caption(
        self,
        images: Images,
        batch_size: int = 8,
        *,
        experts: Sequence[str] | None = None,
        attribution: bool = False,
        **decoding: float,
    ) -> Prediction | list[Prediction] | Iterator[Prediction]:
        """Captions an image, several, or those of an iterator; other arguments as for `captions`."""
        _check_options(decoding, CAPTION_DECODING)
        self.check_decoding(**decoding)
        return self._predict_images(
            images,
            batch_size,
            experts,
            lambda dataset: self.captions(dataset, batch_size, attribution=attribution, **decoding),
        )

    def captions(
        self, dataset: CaptionDataset, batch_size: int, *, attribution: bool = False, **decoding: float
    ) -> Iterator[tuple[str, Prediction]]:
        """The readable images of a data set with their captions.

        Args:
            dataset: read as `image_config` says.
            batch_size: images at once.
            attribution: whether to attribute the captions to experts and image regions (`model/attribution.py`).
            decoding: settings of the beam search that differ from those of the model's task.
        """
        prefix, settings = self.usage.prefix, self.usage.decoding | decoding

        def predict(inputs: Inputs, indices: list[int]) -> list[Prediction]:
            texts, scores = self.model.generate(inputs, prefix, **settings, return_scores=True)
            found = [Prediction(as_sentence(text), score) for text, score in zip(texts, scores, strict=True)]
            if not attribution:
                return found
            starts = [self.model.start_ids(prefix)] * len(texts)
            return self._with_attribution(found, inputs, starts, [" " * bool(prefix) + text for text in texts])

        return self._predictions(dataset, batch_size, predict)

    def check_decoding(self, **decoding: float) -> None:
        """Refuses settings of the beam search that cannot work with this model (`UserError`), before any work."""
        settings = self.usage.decoding | decoding
        if "num_beams" in settings:
            check_beams(settings["num_beams"], self.model.config.text.vocab_size)
        if "max_length" in settings:
            prefix = self.usage.prefix
            check_prefix(prefix, self.model.start_ids(prefix), max_length=settings["max_length"])


class Answerer(Predictor[PrismerVQA]):
    """Answers questions about images."""

    network = PrismerVQA
    card = Card("visual-question-answering", 'answer = model.answer("a.jpg", "What color is the cube?")')

    def answer(
        self,
        images: Images,
        questions: str | Iterable[str],
        answers: Sequence[str] | None = None,
        k: int | None = None,
        batch_size: int = 8,
        *,
        experts: Sequence[str] | None = None,
        attribution: bool = False,
        **decoding: float,
    ) -> Prediction | list[Prediction] | Iterator[Prediction]:
        """Answers a question about each image.

        Args:
            images: see the class.
            questions: one for each image, or one for all.
            answers: choose from these; None: from those of the model's task, or write freely if it has none;
                `[]`: write freely.
            k: how many of them to score in full; None: as many as the model's task does.
            batch_size: images at once.
            experts: see the class.
            attribution: whether to attribute the answers to experts and image regions (`model/attribution.py`).
            decoding: `num_beams`, `max_new`, `min_new` and `length_penalty`, for answers that are written freely.
        """
        _check_options(decoding, ANSWER_DECODING)
        self.check_decoding(answers, **decoding)
        if isinstance(questions, Sequence) and not isinstance(questions, str):
            count = 1 if is_one(images) else len(images) if isinstance(images, Sequence) else len(questions)
            if len(questions) != count:
                raise UserError(f"{len(questions)} questions for {count} images; give one for each, or one")
        left = repeat(questions) if isinstance(questions, str) else iter(questions)

        def predict(dataset: CaptionDataset) -> Iterator[tuple[str, Prediction]]:
            asked = list(islice(left, len(dataset)))
            if len(asked) < len(dataset):
                raise UserError("there are fewer questions than images; give one for each, or one")
            return self.answers(dataset, asked, batch_size, answers, k, attribution=attribution, **decoding)

        return self._predict_images(images, batch_size, experts, predict)

    def answers(
        self,
        dataset: CaptionDataset,
        questions: Sequence[str],
        batch_size: int,
        answers: Sequence[str] | None = None,
        k: int | None = None,
        *,
        attribution: bool = False,
        **decoding: float,
    ) -> Iterator[tuple[str, Prediction]]:
        """The readable images of a data set with the answers to their questions; arguments as for `answer`."""
        if isinstance(answers, str) or not all(isinstance(answer, str) for answer in answers or ()):
            raise UserError(f"answers must be a list of texts, got {answers!r}")
        if k is not None and k < 1:
            raise UserError(f"k must be a whole number from 1 on, got {k}")
        choices = self.usage.answers if answers is None else list(answers)
        settings = self.usage.answering | decoding
        self.check_decoding(answers, **decoding)

        def predict(inputs: Inputs, indices: list[int]) -> list[Prediction]:
            asked = [clean_question(questions[index]) for index in indices]
            if choices:
                ranking = self.model.rank(inputs, asked, choices, self.usage.k if k is None else k)
                rows = [[(choices[index], score) for index, score in row] for row in ranking.sorted()]
                found = [Prediction(*row[0], ranked=tuple(row)) for row in rows]
            else:
                texts, scores = self.model.generate(inputs, asked, **settings, return_scores=True)
                found = [Prediction(text, score) for text, score in zip(texts, scores, strict=True)]
            if not attribution:
                return found
            starts = [self.model.question_ids(question) for question in asked]
            ends = self.model.ends([each.text for each in found])
            return self._with_attribution(found, inputs, starts, [f" {end}" for end in ends])

        return self._predictions(dataset, batch_size, predict)

    def check_decoding(self, answers: Sequence[str] | None = None, **decoding: float) -> None:
        """As for the captioner; `answers` as for `answer`."""
        choices = self.usage.answers if answers is None else answers
        if choices and decoding:
            raise UserError(
                f"this model chooses its answer among {len(choices)}, so there is no beam search to set "
                f"{' and '.join(decoding)} of; leave it out"
            )
        if "num_beams" in decoding:
            check_beams(decoding["num_beams"], self.model.config.text.vocab_size)


def _check_options(decoding: Mapping[str, float], known: Sequence[str]) -> None:
    try:
        check_decoding(decoding, known)
    except ValueError as error:
        raise UserError(str(error).replace("key", "option", 1)) from None
    _, most, least = known
    if decoding.get(least, 0) > decoding.get(most, math.inf):
        raise UserError(f"{least} {decoding[least]} is more than {most} {decoding[most]}")
