"""How well answers do that are given without looking: what a model that sees must beat.

    python -m nano.vqa_baseline --train_list LIST.json --test_list LIST.json

Two are scored: the most frequent training answer for every question, and the most frequent training answer
to questions of the same type.
"""

import argparse
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from common.cli import named_path, run
from common.errors import UserError

if TYPE_CHECKING:
    from dataset.questions import Question


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train_list", type=named_path, required=True, help="list of questions with answers")
    parser.add_argument("--test_list", type=named_path, required=True, help="the same, of other images")
    args = parser.parse_args()

    from dataset.questions import read_questions
    from helpers.evaluation.vqa_accuracy import Reference, score_answers

    overall, by_type = most_frequent_answers(question for _, question in read_questions(args.train_list, "train"))
    references = {
        question.question_id: Reference(question.references, question.type)
        for _, question in read_questions(args.test_list, "test")
    }
    if without := [key for key, reference in references.items() if not reference.answers]:
        raise UserError(f"list {args.test_list}: question {without[0]} has no 'answer' to score against")
    scores = score_answers([{"question_id": key, "answer": overall} for key in references], references)
    print(f"always '{overall}'\n{scores.table()}")
    if not by_type:
        print(f"note: list {args.train_list} gives no 'type' of its questions, so no answer by type")
        return
    results = [
        {"question_id": key, "answer": by_type.get(reference.type, overall)} for key, reference in references.items()
    ]
    print("\n" + ", ".join(f"{kind} '{answer}'" for kind, answer in by_type.items()))
    print(score_answers(results, references).table())


def most_frequent_answers(questions: Iterable["Question"]) -> tuple[str, dict[str, str]]:
    """The most frequent training answer, and that of each type of question; the first one of several.

    Args:
        questions: of a training list; an answer counts as much as its weight.
    """
    overall: Counter[str] = Counter()
    by_type: dict[str, Counter[str]] = {}
    for question in questions:
        overall[question.answer] += question.weight
        if question.type is not None:
            by_type.setdefault(question.type, Counter())[question.answer] += question.weight
    return _most_frequent(overall), {kind: _most_frequent(by_type[kind]) for kind in sorted(by_type)}


def _most_frequent(answers: Counter[str]) -> str:
    return answers.most_common(1)[0][0]


if __name__ == "__main__":
    run(main)
