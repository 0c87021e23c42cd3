"""Scores captions and answers that are given without looking at the images: a model must beat these.

    python -m nano.baselines captions --train_list LIST.json --test GT.json
    python -m nano.baselines answers --train_list LIST.json --test LIST.json

The caption is the training caption with the highest CIDEr on other training images; every test image gets it.
For answers there are two baselines: the most frequent training answer, and the most frequent one to questions
of the same type.
"""

import argparse
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.cli import named_path, run, whole
from common.errors import UserError

if TYPE_CHECKING:
    from dataset.questions import Question

CANDIDATES = 500  # captions tried
IMAGES = 100  # training images they are tried on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["captions", "answers"], help="the texts to score")
    parser.add_argument(
        "--train_list", type=named_path, required=True, help="list of images with captions or questions"
    )
    parser.add_argument(
        "--test", type=named_path, required=True, help="references in the COCO caption format, or a list of questions"
    )
    parser.add_argument("--seed", type=whole, default=0, help="draws the captions and images tried (default: 0)")
    args = parser.parse_args()
    if args.task == "captions":
        score_constant_caption(args.train_list, args.test, args.seed)
    else:
        score_frequent_answers(args.train_list, args.test)


def score_constant_caption(train_list: Path, test_gt: Path, seed: int) -> None:
    """Prints the best constant caption and its scores."""
    from dataset.image_list import captions_of, read_list
    from dataset.reference_captions import read_ground_truth
    from helpers.evaluation.caption_metrics import score_captions, score_table

    references = read_ground_truth(test_gt)
    train: dict[str, list[str]] = {}
    for row in read_list(train_list, ("caption",)):
        train.setdefault(row["image"], []).extend(captions_of(row))
    if len(train) < 4:  # half of them choose the caption, and CIDEr of one image is always 0
        raise UserError(f"{train_list}: has captions of {len(train)} images; a baseline needs 4")
    caption = best_constant_caption(train, seed)
    print(f"caption: {caption}")
    results = [{"image_id": image, "caption": caption} for image in references]
    print(score_table({"all": score_captions(results, references)}))


def best_constant_caption(train: Mapping[str, Sequence[str]], seed: int) -> str:
    """The caption, of a sample, with the highest CIDEr on a sample of the other images.

    Args:
        train: captions of each training image; at least four images.
        seed: of both samples.
    """
    from pycocoevalcap.cider.cider import Cider

    from helpers.evaluation.ptb_tokenizer import tokenize_python  # near enough to choose by

    images = list(train)
    random.Random(seed).shuffle(images)
    count = min(IMAGES, len(images) // 2)
    gts = {image: tokenize_python(train[image]) for image in images[:count]}
    # A caption would win on its own image, as one of its references: candidates are of the others.
    candidates = dict.fromkeys(caption for image in images[count:] for caption in train[image])
    candidates = random.Random(seed).sample(list(candidates), min(CANDIDATES, len(candidates)))
    scores = [
        Cider().compute_score(gts, {image: [tokens] for image in gts})[0] for tokens in tokenize_python(candidates)
    ]
    return candidates[scores.index(max(scores))]


def score_frequent_answers(train_list: Path, test_list: Path) -> None:
    """Prints the most frequent answers, overall and by type, and their scores."""
    from dataset.questions import read_questions
    from helpers.evaluation.vqa_accuracy import score_answers

    overall, by_type = most_frequent_answers(question for _, question in read_questions(train_list, "train"))
    references = {question.question_id: question for _, question in read_questions(test_list, "test")}
    if without := [key for key, reference in references.items() if not reference.references]:
        raise UserError(f"list {test_list}: question {without[0]} has no 'answer' to score against")
    scores = score_answers([{"question_id": key, "answer": overall} for key in references], references)
    print(f"always '{overall}'\n{scores.table()}")
    if not by_type:
        print(f"note: list {train_list} gives no 'type' of its questions, so no answer by type")
        return
    results = [
        {"question_id": key, "answer": by_type.get(reference.type, overall)} for key, reference in references.items()
    ]
    print("\n" + ", ".join(f"{kind} '{answer}'" for kind, answer in by_type.items()))
    print(score_answers(results, references).table())


def most_frequent_answers(questions: Iterable["Question"]) -> tuple[str, dict[str, str]]:
    """The most frequent training answer, and that of each type of question; ties go to the first.

    An answer counts as much as its weight.
    """
    overall: Counter[str] = Counter()
    by_type: dict[str, Counter[str]] = {}
    for question in questions:
        overall[question.answer] += question.weight
        if question.type is not None:
            by_type.setdefault(question.type, Counter())[question.answer] += question.weight
    return max(overall, key=overall.get), {kind: max(found, key=found.get) for kind, found in sorted(by_type.items())}


if __name__ == "__main__":
    run(main)
