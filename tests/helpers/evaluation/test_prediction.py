"""Predicting a test set; results are written before they are scored, so a failing scorer loses none."""

import json
import math
from argparse import Namespace
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import nn

from common.errors import UserError
from helpers.evaluation.caption_evaluation import evaluate_captions
from helpers.evaluation.prediction import Results, Scores, epoch_table, predict_all, report_results, say_cut_texts
from helpers.training.distribution.processes import start_accelerator
from model.captioning import PrismerCaption
from model.prismer import CutTexts
from tests.model import tiny


@dataclass
class Config:
    prefix: str = "a"
    image_resolution: int = 24
    metrics: list[str] = field(default_factory=lambda: ["bleu"])
    decoding: dict[str, int] = field(default_factory=dict)


ROWS = [{"image_id": 1, "caption": "a", "score": -0.5}, {"image_id": 2, "caption": "b", "score": -1.0}]


def report_in(folder: Path, rows: Results, score, evaluate: bool = False) -> dict[str, float]:
    session = SimpleNamespace(folder=folder, args=Namespace(evaluate=evaluate), config=Config())
    return report_results(session, "test", rows, score, {"beams": 3}, "captions")


def written(folder: Path, name: str):
    return json.loads((folder / "results" / f"{name}.json").read_text())


def test_results_scores_and_settings_are_written(tmp_path, capsys):
    ranked = [row | {"ranking": {"a": -0.5}} for row in ROWS]
    values = report_in(tmp_path, ranked, lambda _: Scores({"CIDEr": 0.5}, "CIDEr 0.5", {"notes": ["n"]}))
    assert values == {"CIDEr": 0.5}
    assert written(tmp_path, "test") == [{"image_id": 1, "caption": "a"}, {"image_id": 2, "caption": "b"}]
    assert written(tmp_path, "test_ranking") == ranked
    expected = {
        "config": json.loads(json.dumps(asdict(Config()))),
        "results": 2,
        "settings": {"beams": 3},
        "notes": ["n"],
    }
    assert written(tmp_path, "test_scores") == expected
    assert "beams 3" in capsys.readouterr().out


@pytest.mark.parametrize("error", [KeyError(7), UserError("Java is gone"), MemoryError()])
def test_a_scorer_that_fails_loses_no_results(tmp_path, capsys, error):
    def fail(_):
        raise error

    assert report_in(tmp_path, ROWS, fail) == {}  # a training goes on
    assert "test.json is written, but cannot be scored: " in capsys.readouterr().out
    assert len(written(tmp_path, "test")) == 2
    with pytest.raises(UserError, match=r"test_2\.json is written, but cannot be scored: ") as raised:
        report_in(tmp_path, ROWS, fail, evaluate=True)
    assert "\n" not in str(raised.value)
    assert len(written(tmp_path, "test_2")) == 2


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_output_that_is_not_finite_is_no_result(tmp_path, capsys, bad):
    lost = [row | {"score": bad} for row in ROWS]
    seen = []
    report_in(tmp_path, [ROWS[0], lost[1]], seen.extend)
    assert written(tmp_path, "test") == seen == [{"image_id": 1, "caption": "a"}]
    assert "1 captions left out: the network's output is not finite" in capsys.readouterr().err
    with pytest.raises(UserError, match="no captions: the network's output is not finite"):
        report_in(tmp_path, lost, seen.extend)
    with pytest.raises(UserError, match="no captions: no image could be read"):
        report_in(tmp_path, [], seen.extend)


def test_a_table_has_gaps_where_a_record_has_no_number(tmp_path):
    records = [{"epoch": 1, "train_loss": 0.5, "CIDEr": None}, {"epoch": 2, "train_loss": 0.25}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    lines = [line.split() for line in epoch_table(tmp_path / "metrics.jsonl").splitlines()]
    assert lines == [["epoch", "train_loss", "CIDEr"], ["1", "0.5000"], ["2", "0.2500"]]


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_each_sample_is_predicted_once_in_the_order_of_the_data_set(monkeypatch, precision):
    """Whatever the loader gives twice, or not at all; in evaluation mode, without gradients."""
    monkeypatch.setattr(AcceleratorState, "_shared_state", {})
    model, seen = nn.Dropout().train(), []
    session = SimpleNamespace(model=model, args=Namespace(sharding="none"), is_main=True)
    session.accelerator, session.inputs = start_accelerator(precision), lambda batch: batch["index"] * 10

    def predict(inputs: torch.Tensor, batch: dict[str, torch.Tensor]) -> list[str]:
        seen.append((model.training, torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")))
        return [f"{i.item()} of {b.item()}" for i, b in zip(inputs, batch["index"], strict=True)]

    loader = [{"index": torch.tensor([3, 1])}, None, {"index": torch.tensor([0, 3])}]
    assert predict_all(session, loader, predict, "test") == ["0 of 0", "10 of 1", "30 of 3"]
    assert seen == [(False, True, precision == "bf16")] * 2


@pytest.mark.parametrize("domains", [None, {1: "in-domain", 2: "out-domain", 3: "in-domain"}])
def test_captions_are_scored_against_the_references_of_their_images(tmp_path, monkeypatch, domains):
    monkeypatch.setattr(AcceleratorState, "_shared_state", {})
    monkeypatch.setenv("PATH", "")  # without Java
    references = {1: ["A b."], 2: ["A b."], 3: ["an unreadable image"]}
    dataset = SimpleNamespace(references=lambda: references, domains=domains)
    session = SimpleNamespace(folder=tmp_path, args=Namespace(evaluate=True, sharding="none"), config=Config())
    session.is_main, session.model, session.accelerator = True, nn.Identity(), start_accelerator("no")
    session.inputs = lambda batch: {}
    session.prismer = SimpleNamespace(generate=lambda *_, **__: (["a b", "c d"], [-1.0, -1.0]))

    class Loader(list):
        dataset: SimpleNamespace

    loader = Loader([{"index": torch.tensor([0, 1]), "image_id": [1, 2]}])
    loader.dataset = dataset
    scores = evaluate_captions(session, loader, "test", "a")
    assert scores["Bleu_1"] == pytest.approx(0.5)  # of both images
    assert [row["caption"] for row in written(tmp_path, "test")] == ["A b.", "C d."]
    record = written(tmp_path, "test_scores")
    assert record["scores"] == scores
    if domains:
        assert [record["domains"][name]["Bleu_1"] for name in record["domains"]] == pytest.approx([1, 0, 0.5])
    session.is_main = False
    assert evaluate_captions(session, loader, "test", "a") == {}


def test_cut_texts_are_said_once_for_each_split(capsys):
    model = tiny.build(PrismerCaption)
    session = SimpleNamespace(prismer=model, is_main=True, said_cut=set())
    for split, captions in (("training", ["a dog"]), ("training", ["a dog " * 30, "cat"]), ("test", ["a"])):
        model(tiny.images(1), captions * 2)
        say_cut_texts(session, split)
        assert model.cut_texts == CutTexts()
    model(tiny.images(1), ["a dog " * 30])
    say_cut_texts(session, "training")
    said = "2 of 4 training captions have more than 30 tokens: the rest is not read\n"
    assert capsys.readouterr().out == said
