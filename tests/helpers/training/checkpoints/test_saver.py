"""Metrics of what a resumed run does again."""

import json

import pytest

from helpers.training.checkpoints.saver import rewind_metrics
from helpers.training.checkpoints.training_state import Progress

RECORDS = [
    {"epoch": 1, "step": 50, "loss": 3.0},
    {"epoch": 1, "step": 70, "train_loss": 2.0},
    {"epoch": 2, "step": 100, "loss": 1.0},
    {"epoch": 2, "step": 140, "train_loss": 0.5},
]


@pytest.mark.parametrize(
    ("progress", "kept"),
    [
        (Progress(epoch=0, consumed=50, step=49), 0),
        (Progress(epoch=0, consumed=51, step=50), 1),
        (Progress(epoch=0, consumed=70, step=70), 1),  # its evaluation is done again
        (Progress(epoch=1, step=70), 2),
        (Progress(epoch=1, consumed=30, step=100), 3),
        (Progress(epoch=2, step=140), 4),
    ],
)
def test_records_of_what_is_done_again_go(tmp_path, progress, kept):
    file = tmp_path / "metrics.jsonl"
    rewind_metrics(file, progress)
    assert not file.exists()
    file.write_text("".join(json.dumps(record) + "\n" for record in RECORDS) + '5\n{}\n{"epoch": 2, "st')
    rewind_metrics(file, progress)
    assert [json.loads(line) for line in file.read_text().splitlines()] == RECORDS[:kept]
