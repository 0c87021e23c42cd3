"""How well answers do that are given without looking: what a model that sees must beat.

    python -m helpers.vqa_baseline --train_list LIST.json --test_list LIST.json

Two are scored: the most frequent training answer for every question, and the most frequent training answer
to questions of the same type.
"""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset.image_list import read_list
from helpers.cli import run
from helpers.vqa_metrics import answers_of, question_type, references_of, score_answers
from model.errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train_list", type=Path, required=True, help="list of questions with answers")
    parser.add_argument("--test_list", type=Path, required=True, help="the same, with question ids")
    args = parser.parse_args()

    source = f"list {args.train_list}"
    overall, by_type = most_frequent_answers(read_list(args.train_list, ("answer",)), source)
    references = references_of(read_list(args.test_list, ("question_id", "answer")), f"list {args.test_list}")
    scores = score_answers([{"question_id": key, "answer": overall} for key in references], references)
    print(f"always '{overall}'\n{scores.table()}")
    if not by_type:
        print(f"note: {source} gives no 'type' of its questions, so no answer by type")
        return
    results = [
        {"question_id": key, "answer": by_type.get(reference.type, overall)}
        for key, reference in references.items()
    ]
    print("\n" + ", ".join(f"{kind} '{answer}'" for kind, answer in by_type.items()))
    print(score_answers(results, references).table())


def most_frequent_answers(rows: Sequence[Mapping[str, Any]], source: str) -> tuple[str, dict[str, str]]:
    """The most frequent answer, and that of each type of question; the first one of several.

    Args:
        rows: of a training list; `weight`, 1 if absent, says how much an answer counts.
        source: what the rows are of, for error messages.

    Raises:
        UserError: a weight is not a number.
    """
    overall: Counter[str] = Counter()
    by_type: dict[str, Counter[str]] = {}
    for number, row in enumerate(rows, start=1):
        try:
            weight = float(row.get("weight", 1))
        except (TypeError, ValueError):
            raise UserError(f"{source}, row {number}: weight '{row['weight']}' is not a number") from None
        counters = [overall]
        if (kind := question_type(row)) is not None:
            counters.append(by_type.setdefault(kind, Counter()))
        for answer in answers_of(row):
            for counter in counters:
                counter[answer] += weight
    return _most_frequent(overall), {kind: _most_frequent(by_type[kind]) for kind in sorted(by_type)}


def _most_frequent(answers: Counter[str]) -> str:
    return answers.most_common(1)[0][0]


if __name__ == "__main__":
    run(main)
