"""VQA accuracy is that of an independent implementation of the challenge's rule."""

import json
from pathlib import Path

import pytest

from helpers.metrics.vqa import answer_accuracy

GOLDEN = Path(__file__).parent / "goldens" / "vqa_accuracy.json"


def test_accuracies():
    cases = json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]
    assert len(cases) == 400
    for case in cases:
        accuracy = answer_accuracy(case["answer"], case["answers"])
        assert accuracy == pytest.approx(case["accuracy"], abs=1e-9), case
