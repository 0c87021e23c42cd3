"""VQA accuracy is that of an independent implementation of the challenge's rule."""

import json
from pathlib import Path

import pytest

from helpers.evaluation.vqa_accuracy import answer_accuracy

GOLDEN = Path(__file__).parent / "goldens" / "vqa_accuracy.json"


def test_accuracies():
    cases = json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]
    assert len(cases) == 400
    for case in cases:
        accuracy = answer_accuracy(case["answer"], case["answers"])
        assert accuracy == pytest.approx(case["accuracy"], abs=1e-9), case


def test_unanimous_accuracies():
    """Every answer against every person's answer of its case, as if all people had given it."""
    cases = json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]
    outcomes = []
    for case in cases:
        said = case["answer"].replace("\n", " ").replace("\t", " ").strip()
        for theirs in case["answers"]:
            written = theirs.replace("\n", " ").replace("\t", " ").strip()
            outcomes.append(float(said == written))
            assert answer_accuracy(case["answer"], [theirs] * 10) == outcomes[-1], (case["answer"], theirs)
    assert 0.1 < sum(outcomes) / len(outcomes) < 0.9
