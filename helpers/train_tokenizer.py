"""Trains a byte-level BPE tokenizer with RoBERTa's special tokens on the texts of JSON lists.

    python -m helpers.train_tokenizer --lists a.json b.json --out nano/tokenizer --vocab_size 1000

Only a network that is trained from scratch can use another tokenizer than roberta-base's.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from helpers.cli import run
from model.errors import UserError

SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>"]  # RoBERTa's ids 0 to 3
TEXT_FIELDS = ("caption", "question", "answer")


def texts(path: Path) -> Iterator[str]:
    """Every caption, question and answer of a list, as the model is fed them."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from None
    for row in rows:
        for field in TEXT_FIELDS:
            if isinstance(row.get(field), str):
                # Questions and answers are capitalised, captions follow the prefix.
                text = row[field]
                yield f" {text}" if field == "caption" else f" {text.capitalize()}"
                yield text.capitalize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lists", type=Path, nargs="+", required=True, help="JSON arrays of objects")
    parser.add_argument("--out", type=Path, required=True, help="folder for vocab.json and merges.txt")
    parser.add_argument("--vocab_size", type=int, default=1000)
    args = parser.parse_args()

    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    corpus = [text for path in args.lists for text in texts(path)]
    tokenizer.train_from_iterator(
        corpus, vocab_size=args.vocab_size, special_tokens=[*SPECIAL_TOKENS, "<mask>"], show_progress=False
    )
    vocab, merges = tokenizer.save_model(str(args.out.parent), f".{args.out.name}")
    args.out.mkdir(parents=True, exist_ok=True)
    Path(vocab).replace(args.out / "vocab.json")
    Path(merges).replace(args.out / "merges.txt")
    print(f"{args.out}: {tokenizer.get_vocab_size()} tokens from {len(corpus)} texts")


if __name__ == "__main__":
    run(main)
