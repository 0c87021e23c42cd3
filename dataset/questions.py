"""Questions about images: VQAv2, Visual Genome, a list of your own (docs/data.md)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.strict_json import is_unicode
from dataset.image_list import Split, check_data_path, checked_id, custom_list, read_json, read_list, read_text
from dataset.location import Url
from dataset.samples import ImageConfig, ImageFolder, ImageLabelDataset
from dataset.text import clean_question, is_long_question

QuestionId = int | str
_VG_WEIGHT = 0.2  # of an answer in Visual Genome, which has one answer a question
_LISTS: dict[tuple[str, Split], tuple[str, str]] = {  # file, and folder of images and labels
    ("vqav2", "train"): ("vqav2_train_val.json", "vqav2"),
    ("vqav2", "test"): ("vqav2_test.json", "vqav2"),
    ("vg", "train"): ("vg_qa.json", "vg"),
}


@dataclass(frozen=True)
class Question:
    """A question, in training with the answer to learn, in a test perhaps with people's answers.

    Attributes:
        weight: of the answer in the loss.
        question_id: its name in the results.
        references: the answers to score against; none if they are unknown.
        type: the kind of question, if the list has it.
    """

    question: str
    answer: str = ""
    weight: float = 1.0
    question_id: QuestionId = 0
    references: tuple[str, ...] = ()
    type: str | None = None


class QuestionDataset(ImageLabelDataset):
    """Images with questions; `question_dataset` opens one.

    Args:
        rows: image and questions of each sample.
        folder, visual, training: see `ImageLabelDataset`.
        questions_per_image: questions of a training sample; they take turns over the epochs. A test
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
            questions = self.in_turn(questions, self.questions_per_image)
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
        data_path, visual, train_list, test_list: see `caption_dataset`.
        questions_per_image: 1: a training sample for each answer; more: one for each image, with so many of
            its questions.
        by_image: a test sample is an image with all its questions, so that it is read and encoded once;
            otherwise it is a question.

    Raises:
        UserError: something is missing or malformed; names it.
    """
    training = split == "train"
    data_path = check_data_path(data_path)
    if name == "custom":
        file, folder = custom_list(split, train_list, test_list), ""
    elif (name, split) in _LISTS:
        file, folder = _LISTS[name, split]
    else:
        known = ", ".join(dict.fromkeys(known for known, _ in _LISTS))
        raise UserError(f"unknown VQA data set '{name}' ({split}); known: {known}, custom")
    pairs = read_questions(data_path / file, split, _VG_WEIGHT if name == "vg" else None)
    if questions_per_image > 1 if training else by_image:
        by_name: dict[str, list[Question]] = {}
        for image, question in pairs:
            by_name.setdefault(image, []).append(question)
        rows = [(image, tuple(questions)) for image, questions in by_name.items()]
    else:
        rows = [(image, (question,)) for image, question in pairs]
    return QuestionDataset(
        rows,
        ImageFolder(data_path / folder, folder),
        visual,
        training=training,
        questions_per_image=questions_per_image,
    )


def read_questions(path: Path | Url, split: Split, weight: float | None = None) -> list[tuple[str, Question]]:
    """Reads a list of questions, each with the path of its image.

    Args:
        path: the list.
        split: `train` gives a question for each answer, `test` one with all its answers.
        weight: of every training answer; None: each row has its own, or 1.

    Raises:
        UserError: the list is missing or malformed; names the row.
    """
    training = split == "train"
    listed = read_list(path, ("question", "answer") if training else ("question",), may_be_empty=("question",))
    pairs: list[tuple[str, Question]] = []
    seen: dict[str, int] = {}  # row by question id
    for number, row in enumerate(listed, start=1):
        where = f"list {path}, row {number}"
        question, kind = row["question"], row.get("type") or row.get("question_type")
        if not isinstance(question, str):
            raise UserError(f"{where}: 'question' must be text, found {question!r}")
        kind = None if kind is None else str(checked_id(kind, "type", where))
        has_answer = row.get("answer") not in (None, "", [])
        answers = _answers(row["answer"], where) if has_answer else []
        if training:
            own = _weight(row.get("weight", 1.0), where) if weight is None else weight
            pairs += [(row["image"], Question(question, answer, own, type=kind)) for answer in answers]
            continue
        question_id = checked_id(row.get("question_id", number - 1), "question_id", where)
        # Compared as text: to servers and files, 1 and "1" are the same.
        if (row_before := seen.setdefault(str(question_id), number)) != number:
            raise UserError(f"{where}: question_id {question_id} is that of row {row_before}, too")
        if pairs and has_answer != bool(pairs[0][1].references):
            raise UserError(f"{where}: rows with and without 'answer'; give an answer to all or to none")
        entry = Question(question, question_id=question_id, references=tuple(answers), type=kind)
        pairs.append((row["image"], entry))
    return pairs


def _weight(value: Any, where: str) -> float:
    try:
        weight = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise UserError(f"{where}: 'weight' must be a number from 0 on, found {value!r}")
    return weight


def _answers(value: Any, where: str) -> list[str]:
    answers = value if isinstance(value, list) else [value]
    if not all(isinstance(answer, str) and answer.strip() for answer in answers):
        raise UserError(f"{where}: 'answer' must be text, or a list of texts, none of them empty")
    return answers


def read_answers(path: Path) -> list[str]:
    """Reads a list of answers to choose from: a JSON array of texts, or a text file with one a line.

    Of answers that differ only in the case of their letters, the first is kept.

    Raises:
        UserError: missing, malformed, or an answer is empty.
    """
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".csv"):
        raise UserError(f"list {path}: answers are a JSON array (.json) or a text file with one a line (.txt)")
    answers = read_json(path) if suffix == ".json" else read_text(path).splitlines()
    if not isinstance(answers, list) or not answers:
        raise UserError(f"list {path}: expected an array of answers, with at least one")
    unique: dict[str, str] = {}
    for number, answer in enumerate(answers, start=1):
        if not isinstance(answer, str) or not answer.strip() or not is_unicode(answer):
            raise UserError(f"list {path}: answer {number} is {answer!r}; expected a text; remove or mend it")
        unique.setdefault(answer.strip().lower(), answer.strip())
    return list(unique.values())
