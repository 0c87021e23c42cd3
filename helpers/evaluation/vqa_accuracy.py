"""VQA accuracy by the rule of the VQA challenge: the more people gave an answer, the more accurate it is.

Ten people answer each question. Each is left out in turn: an answer counts min(n / 3, 1) if n of the other nine
gave it. The accuracy is the mean of the ten: 0.3, 0.6, 0.9, 1 for one to four people. Answers are compared in a
normal form (`normalise`), or as written where all people gave the same answer.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from dataset.questions import Question
from helpers.evaluation.paired_results import Id, match_results

ENOUGH = 3  # people who give an answer make it fully accurate

_TO_TEN = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: str(number) for number, word in enumerate(_TO_TEN)} | {"none": "0"}
_ARTICLES = frozenset(("a", "an", "the"))
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_STOP = re.compile(r"\.(?!\d)")  # not a decimal point
_MOST_STOPS = 32  # how many the evaluator removes
# Contractions that people write without the apostrophe, except where that is another word (were, ill).
_WITH_APOSTROPHE = """
    ain't aren't can't couldn't could've didn't doesn't don't hadn't hasn't haven't isn't mightn't might've
    mustn't must've needn't not've oughtn't shan't shouldn't should've wasn't weren't won't wouldn't would've
    he'd he's how'd how'll how's it'd it'll that's there'd there're there's they'd they'll they're they've
    we've what'll what're what's what've when's where'd where's where've who'd who'll who's who've
    why'll why're why's y'all you'd you'll you're you've ma'am o'clock 'twas
    somebody'll somebody's someone'd someone'll someone's something'd something'll
    couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've
    something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll y'all'd've you'd've 'ow's'at
"""
_CONTRACTIONS = {
    word[:place] + word[place + 1 :]: word
    for word in _WITH_APOSTROPHE.split()
    for place, sign in enumerate(word)
    if sign == "'"
} | {"somebody'd": "somebodyd"}  # so in the evaluator


@dataclass(frozen=True)
class VQAScores:
    """Accuracies, from 0 to 1.

    Attributes:
        accuracy: mean over all questions.
        by_type: mean and number of the questions of each type, sorted by type.
        questions: their number.
    """

    accuracy: float
    by_type: dict[str, tuple[float, int]]
    questions: int

    def table(self) -> str:
        """The accuracies in percent, of all questions and of each type, a line each."""
        rows = {"all": (self.accuracy, self.questions)} | self.by_type
        width = max(map(len, rows))
        lines = (f"{name:{width}s} {100 * mean:8.2f} {count:8d}" for name, (mean, count) in rows.items())
        return "\n".join([f"{'':{width}s} accuracy questions", *lines])


def score_answers(results: Sequence[Mapping[str, Any]], references: Mapping[Id, Question]) -> VQAScores:
    """Scores one answer a question against people's answers.

    Args:
        results: one {"question_id", "answer"} for each question of `references`.
        references: by question id, each with at least one answer.

    Raises:
        UserError: questions without a result, twice in the results or without references.
    """
    answers = match_results(results, references, "question", "answer")
    accuracies = {key: answer_accuracy(text, references[key].references) for key, text in answers.items()}
    types: dict[str, list[float]] = {}
    for key, accuracy in accuracies.items():
        if (kind := references[key].type) is not None:
            types.setdefault(kind, []).append(accuracy)
    by_type = {kind: (fmean(types[kind]), len(types[kind])) for kind in sorted(types)}
    return VQAScores(fmean(accuracies.values()), by_type, len(accuracies))


def answer_accuracy(answer: str, references: Sequence[str]) -> float:
    """The accuracy of an answer, 0 to 1, given one reference answer a person.

    Where several people all gave the same answer, the challenge's evaluator compares both texts as written
    (since March 2021), otherwise their normal forms. For up to four people the accuracy is the share who gave
    this answer, which extends the rule for ten.
    """
    answer, given = _one_line(answer), [_one_line(text) for text in references]
    if len(given) == 1 or len(set(given)) > 1:
        answer, given = normalise(answer), [normalise(text) for text in given]
    people, agree = len(given), given.count(answer)
    if people == 1:
        return float(agree)
    enough = min(ENOUGH, people - 1)
    # The person left out is one of those who agree, or one of the others.
    agreeing, others = min((agree - 1) / enough, 1), min(agree / enough, 1)
    return (agree * agreeing + (people - agree) * others) / people


def normalise(answer: str) -> str:
    """An answer in the normal form of the challenge's evaluator.

    Lower case, single spaces, no articles, numbers up to ten as digits, apostrophes in contractions.
    A punctuation mark becomes a space (`x-ray` is `x ray`), or is removed if it stands next to a space or if
    the answer holds a number with a comma (`1,000`). Decimal points stay.
    """
    answer = _one_line(answer)
    text = answer
    comma_in_number = _COMMA_IN_NUMBER.search(answer)
    for sign in _PUNCTUATION:
        at_a_space = f"{sign} " in answer or f" {sign}" in answer
        text = text.replace(sign, "" if at_a_space or comma_in_number else " ")
    text = _STOP.sub("", text, count=_MOST_STOPS)
    words = (_NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def _one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()
