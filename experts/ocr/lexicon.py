"""Which readings are believed: sure ones, and those that are a word or nearly one."""

from collections.abc import Iterable
from pathlib import Path

from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from common.errors import UserError
from common.pickles import FETCH

FILE = "GenericVocabulary.txt"
_LEAST_SCORE = 0.80
_SURE_SCORE = 0.98
_SURE_SCORE_OF_CODES = 0.90  # of what is not letters alone, which no lexicon has
_COMMENT = "#"


class Lexicon:
    """Words that a reading is compared with, in an order that decides between equally near ones."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = list(dict.fromkeys(word.upper() for word in words))

    def believed(self, text: str, score: float) -> str | None:
        """What a reading says.

        Args:
            text: in capitals.
            score: how sure it is, 0 to 1.

        Returns:
            The text, the word of the lexicon that is nearest to it, or None if it is not to be believed.
        """
        if score < _LEAST_SCORE:
            return None
        if score >= _SURE_SCORE or (score >= _SURE_SCORE_OF_CODES and not text.isalpha()):
            return text
        nearest = process.extractOne(
            text, self.words, scorer=Levenshtein.distance, score_cutoff=_allowed_distance(text)
        )
        return None if nearest is None else nearest[0]


def _allowed_distance(text: str) -> int:
    if len(text) <= 2:
        return 0
    return 1 if len(text) <= 5 else 2


def read_lexicon(path: Path) -> Lexicon:
    """Reads a file of one word a line; lines that start with # are comments.

    Raises:
        UserError: missing, no text, or empty.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text in UTF-8"
        raise UserError(f"lexicon {path}: cannot be read ({reason}); fetch it again: {FETCH}") from None
    words = [line.strip() for line in lines if not line.startswith(_COMMENT)]
    words = [word for word in words if word]
    if not words:
        raise UserError(f"lexicon {path}: no words in it; fetch it again: {FETCH}")
    return Lexicon(words)
