"""Trains a byte-level BPE tokenizer with RoBERTa's special tokens on lists of images.

    python -m nano.train_tokenizer --lists a.json b.json --out nano/tokenizer --vocab_size 1000

Only networks that are trained from scratch can use another tokenizer than roberta-base's.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from common.cli import named_path, natural, run
from common.files import write_bytes
from common.overwrite import Outputs, add_flag

SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>"]  # RoBERTa's ids 0 to 3


def texts(path: Path, prefix: str) -> Iterator[str]:
    """All captions, questions and answers of a list as the model reads them; raises as `read_list`."""
    from dataset.image_list import captions_of, read_list

    for row in read_list(path, ()):
        for caption in captions_of(row):
            yield f"{prefix} {caption}"
        question, answers = row.get("question"), row.get("answer", [])
        if isinstance(question, str):
            yield question.capitalize()
            for answer in answers if isinstance(answers, list) else [answers]:
                yield f" {str(answer).capitalize()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lists", type=named_path, nargs="+", required=True, help="lists of images")
    parser.add_argument("--out", type=named_path, required=True, help="folder for vocab.json and merges.txt")
    parser.add_argument("--vocab_size", type=natural, default=1000, help="at most (default: %(default)s)")
    parser.add_argument("--prefix", default="A picture of", help="of captions (default: %(default)s)")
    add_flag(parser)
    args = parser.parse_args()
    outputs = Outputs("nano.train_tokenizer", args.overwrite, "name another folder with --out")
    files = [args.out / name for name in ("vocab.json", "merges.txt")]
    outputs.check(files, sources=args.lists)

    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    corpus = [text for path in args.lists for text in texts(path, args.prefix)]
    tokenizer.train_from_iterator(
        corpus, vocab_size=args.vocab_size, special_tokens=[*SPECIAL_TOKENS, "<mask>"], show_progress=False
    )
    with TemporaryDirectory() as folder:
        tokenizer.save_model(folder)
        for path in files:
            with outputs.writing(path):
                write_bytes(path, Path(folder, path.name).read_bytes())
    print(f"{args.out}: {tokenizer.get_vocab_size()} tokens from {len(corpus)} texts")


if __name__ == "__main__":
    run(main)
