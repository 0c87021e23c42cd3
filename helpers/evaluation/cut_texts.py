"""Texts that are longer than a model reads: they are cut, and how many is said once."""

from accelerate.utils import gather_object

from helpers.training.run import Session
from model.prismer import CutTexts


def say_cut_texts(session: Session, split: str) -> None:
    """Says how many of the texts since the last call were cut, once for each split; all processes call it.

    Args:
        session: its model has read the texts.
        split: `training` or `test`.
    """
    counts: list[CutTexts] = gather_object([session.prismer.cut_texts])
    session.prismer.cut_texts = CutTexts()
    read, cut = sum(each.read for each in counts), sum(each.cut for each in counts)
    if cut and session.is_main and split not in session.said_cut:
        session.said_cut.add(split)
        limit, texts = counts[0].limit, session.prismer.texts
        print(f"{cut} of {read} {split} {texts} have more than {limit} tokens: what is beyond is not read")
