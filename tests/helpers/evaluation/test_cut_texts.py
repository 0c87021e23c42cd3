"""What is said of texts that are longer than the model reads."""

from types import SimpleNamespace

from helpers.evaluation.cut_texts import say_cut_texts
from model.captioning import PrismerCaption
from model.prismer import CutTexts
from tests.model import tiny


def test_cut_texts_are_said_once_for_each_split(capsys):
    model = tiny.build(PrismerCaption)
    session = SimpleNamespace(prismer=model, is_main=True, said_cut=set())
    for split, captions in (("training", ["a dog"]), ("training", ["a dog " * 30, "cat"]), ("test", ["a"])):
        model(tiny.images(1), captions * 2)
        say_cut_texts(session, split)
        assert model.cut_texts == CutTexts()
    model(tiny.images(1), ["a dog " * 30])
    say_cut_texts(session, "training")
    said = "2 of 4 training captions have more than 30 tokens: what is beyond is not read\n"
    assert capsys.readouterr().out == said
