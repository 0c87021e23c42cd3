"""A run with a tracker: two processes, of which one writes."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.end_to_end.conftest import read_json, train, write_config
from tests.forked import ready_to_fork


def test_tensorboard_shows_what_metrics_jsonl_holds(scenes, tmp_path):
    changes = {"dataset": ["coco"], "coco_data_path": str(scenes), "test_dataset": None}
    changes |= {"batch_size_train": 1, "captions_per_image": 1, "max_epoch": 2}
    config = write_config(tmp_path / "pretrain.yaml", scenes, **changes)
    with ready_to_fork():
        train("pretrain", config, tmp_path, "--log_with", "tensorboard", processes=2)
    folder = tmp_path / "logging" / "pretrain_tiny"
    records = read_json(folder / "metrics.jsonl")
    assert ["train_loss" in record for record in records] == [True, False, True]
    assert [record["step"] for record in records] == [30, 50, 60]
    (events,) = (folder / "tensorboard").glob("events.out.tfevents.*")
    shown = EventAccumulator(str(events)).Reload()
    for record in records:
        assert {"samples_per_second", "step_seconds", "data_seconds", "rss_gib"} <= record.keys()
        assert 0 < record["data_seconds"] < record["step_seconds"] < 10
        for name, value in record.items():
            points = {point.step: point.value for point in shown.Scalars(name)}
            step = record["step"]
            assert abs(points[step] - value) <= 1e-6 * abs(value), name
