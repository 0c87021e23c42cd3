"""Questions about images: VQAv2, Visual Genome, a list of your own (docs/data.md)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.strict_json import is_unicode
from dataset.image_list import (
    Split,
    check_data_path,
    checked_id,
    custom_list,
    parse_json,
    read_list,
    read_text,
)
from dataset.location import Url
from dataset.samples import ImageConfig, ImageFolder, ImageLabelDataset
from dataset.text import clean_question, is_long_question

QuestionId = int | str
VG_WEIGHT = 0.2  # of an answer in Visual Genome, which has one answer a question


@dataclass(frozen=True)
class Question:
    """A question; for training with the answer to learn, in a test perhaps with the answers people gave.

    Attributes:
        weight: of the answer in the loss.
        question_id: names it in results.
        references: the answers it is scored against; none if they are unknown.
        type: the kind of question, if the list says it.
    """

    question: str
    answer: str = ""
    weight: float = 1.0
    question_id: QuestionId = 0
    references: tuple[str, ...] = ()
    type: str | None = None


@dataclass(frozen=True)
class ListLayout:
    """What a public list is called, and the folder of its images and labels."""

    file: str
    folder: str
    weight: float | None  # None: each row has its own


PUBLIC_LISTS: dict[tuple[str, Split], ListLayout] = {
    ("vqav2", "train"): ListLayout("vqav2_train_val.json", "vqav2", None),
    ("vqav2", "test"): ListLayout("vqav2_test.json", "vqav2", None),
    ("vg", "train"): ListLayout("vg_qa.json", "vg", VG_WEIGHT),
}


class QuestionDataset(ImageLabelDataset):
    """Images with questions.

    Args:
        rows: image and questions of each sample.
        folder: where images and labels are.
        visual: how they are read.
        training: whether samples have answers to learn.
        questions_per_image: questions that a training sample has; they take turns over the epochs. A test
            sample has all of its image's.
    """

    def __init__(
        self,
        rows: Sequence[tuple[str, tuple[Question, ...]]],
        folder: ImageFolder,
        visual: ImageConfig,
        *,
        training: bool = False,
        questions_per_image: int = 1,
    ) -> None:
        super().__init__([image for image, _ in rows], folder, visual, training)
        self.questions = [questions for _, questions in rows]
        self.questions_per_image = questions_per_image

    def text(self, index: int) -> dict[str, Any]:
        """`image`, `count` (of its questions) and a list each of `question`, `question_id`, in training also
        of `answer` and `weight`.
        """
        questions = self.questions[index]
        if self.training:
            first = self.epoch * self.questions_per_image
            turns = range(first, first + self.questions_per_image)
            questions = [questions[turn % len(questions)] for turn in turns]
        text = {
            "image": self.images[index],
            "count": len(questions),
            "question": [clean_question(entry.question) for entry in questions],
            "question_id": [entry.question_id for entry in questions],
        }
        if self.training:
            text["answer"] = [entry.answer for entry in questions]
            text["weight"] = [entry.weight for entry in questions]
        return text

    def long_questions(self) -> int:
        """How many questions lose words when they are cleaned."""
        return sum(is_long_question(entry.question) for entries in self.questions for entry in entries)

    def references(self) -> dict[QuestionId, Question] | None:
        """The questions by id, if people's answers to them are known."""
        known = {entry.question_id: entry for entries in self.questions for entry in entries if entry.references}
        return known or None


def question_dataset(
    name: str,
    split: Split,
    data_path: Path | Url | str,
    visual: ImageConfig,
    *,
    train_list: str | None = None,
    test_list: str | None = None,
    questions_per_image: int = 1,
    by_image: bool = True,
) -> QuestionDataset:
    """Opens a list of questions, checking it and its folders.

    Args:
        name: `vqav2`, `vg` (training only) or `custom` (images and lists of your own).
        split: `train` gives answers to learn.
        data_path: where lists and image folders are.
        visual: how images and labels are read.
        train_list: list of a `custom` data set, absolute or relative to `data_path`.
        test_list: the same.
        questions_per_image: 1: a training sample for each answer; more: one for each image, with so many of
            its questions.
        by_image: whether a test sample is an image with all its questions, so that it is read and encoded
            once; otherwise it is a question.

    Raises:
        UserError: something is missing or malformed; names it.
    """
    training = split == "train"
    data_path = check_data_path(data_path)
    if name == "custom":
        layout = ListLayout(custom_list(split, train_list, test_list), "", None)
    elif (name, split) in PUBLIC_LISTS:
        layout = PUBLIC_LISTS[name, split]
    else:
        known = ", ".join(dict.fromkeys(known for known, _ in PUBLIC_LISTS))
        raise UserError(f"unknown VQA data set '{name}' ({split}); known: {known}, custom")
    pairs = read_questions(data_path / layout.file, split, layout.weight)
    return QuestionDataset(
        _grouped(pairs) if (questions_per_image > 1 if training else by_image) else _single(pairs),
        ImageFolder(data_path / layout.folder, layout.folder),
        visual,
        training=training,
        questions_per_image=questions_per_image,
    )


def read_questions(path: Path, split: Split, weight: float | None = None) -> list[tuple[str, Question]]:
    """Reads a list of questions, each with the path of its image.

    Args:
        path: the list.
        split: `train` gives a question for each answer, `test` one with all its answers.
        weight: of every training answer; None: each row has its own, or 1.

    Raises:
        UserError: the list is missing or malformed; names the row.
    """
    training = split == "train"
    required = ("question", "answer") if training else ("question",)
    listed = read_list(path, required, may_be_empty=("question",))
    return _training_questions(path, listed, weight) if training else _test_questions(path, listed)


def read_answers(path: Path) -> list[str]:
    """Reads a list of answers to choose from: a JSON array of texts, or a text file with one a line.

    Answers that are there twice, but for the case of their letters, are left out.

    Raises:
        UserError: missing, malformed, or an answer is empty.
    """
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".csv"):
        raise UserError(f"list {path}: answers are a JSON array (.json) or a text file with one a line (.txt)")
    text = read_text(path)
    answers = parse_json(path, text) if suffix == ".json" else text.splitlines()
    if not isinstance(answers, list) or not answers:
        raise UserError(f"list {path}: expected an array of answers, with at least one")
    unique: dict[str, str] = {}
    for number, answer in enumerate(answers, start=1):
        if not isinstance(answer, str) or not answer.strip() or not is_unicode(answer):
            raise UserError(f"list {path}: answer {number} is {answer!r}; expected a text; remove or mend it")
        unique.setdefault(answer.strip().lower(), answer.strip())
    return list(unique.values())


_Pairs = list[tuple[str, Question]]


def _training_questions(path: Path, listed: list[dict[str, Any]], weight: float | None) -> _Pairs:
    """A question for each answer of each row."""
    pairs = []
    for number, row in enumerate(listed, start=1):
        where = f"list {path}, row {number}"
        own = row.get("weight", 1.0) if weight is None else weight
        try:
            own = math.nan if isinstance(own, bool) else float(own)
        except (TypeError, ValueError):
            own = math.nan
        if not 0 <= own < math.inf:
            raise UserError(f"{where}: 'weight' must be a number from 0 on, found {row.get('weight')!r}")
        question = _question(row, where)
        for answer in _answers(row, where):
            pairs.append((row["image"], Question(question, answer, own, type=_type(row, where))))
    return pairs


def _test_questions(path: Path, listed: list[dict[str, Any]]) -> _Pairs:
    pairs, seen = [], {}
    for number, row in enumerate(listed, start=1):
        where = f"list {path}, row {number}"
        question_id = checked_id(row.get("question_id", number - 1), "question_id", where)
        # As text: servers and files do not tell 1 from "1".
        if (row_before := seen.setdefault(str(question_id), number)) != number:
            raise UserError(f"{where}: question_id {question_id} is that of row {row_before}, too")
        has_answer = row.get("answer") not in (None, "", [])
        if pairs and has_answer != bool(pairs[0][1].references):
            raise UserError(f"{where}: rows with and without 'answer'; give an answer to all or to none")
        question = Question(
            _question(row, where),
            question_id=question_id,
            references=tuple(_answers(row, where)) if has_answer else (),
            type=_type(row, where),
        )
        pairs.append((row["image"], question))
    return pairs


def _question(row: dict[str, Any], where: str) -> str:
    question = row.get("question")
    if not isinstance(question, str):
        raise UserError(f"{where}: 'question' must be text, found {question!r}")
    return question


def _type(row: dict[str, Any], where: str) -> str | None:
    kind = row.get("type") or row.get("question_type")
    return None if kind is None else str(checked_id(kind, "type", where))


def _answers(row: dict[str, Any], where: str) -> list[str]:
    answers = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
    for answer in answers:
        if not isinstance(answer, str) or not answer.strip():
            raise UserError(f"{where}: 'answer' must be text, or a list of texts, none of them empty")
    return answers


def _single(pairs: _Pairs) -> list[tuple[str, tuple[Question, ...]]]:
    return [(image, (question,)) for image, question in pairs]


def _grouped(pairs: _Pairs) -> list[tuple[str, tuple[Question, ...]]]:
    """An entry for each image, in the order in which they first come."""
    questions: dict[str, list[Question]] = {}
    for image, question in pairs:
        questions.setdefault(image, []).append(question)
    return [(image, tuple(entries)) for image, entries in questions.items()]
