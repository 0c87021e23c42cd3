"""train_classification.py, run in forked processes, on scenes of one solid."""

from tests.end_to_end.conftest import read_json, train, write_config
from tests.forked_script import forked_script


def test_it_trains_and_evaluates(tmp_path):
    """Two training images and a test image of each of the 32 classes."""
    flags = ("--train", "2", "--test", "1", "--seed", "5", "--size", "64", "--workers", "1")
    done = forked_script("nano/scenes/__main__.py", "--classes", "--out", tmp_path, *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    settings = {"data_path": str(tmp_path), "shots": 1, "from_scratch": True, "k_test": 5}
    settings |= {"batch_size_train": 16, "batch_size_test": 16}
    config = write_config(tmp_path / "classification.yaml", tmp_path, **settings)
    done = train("classification", config, tmp_path)
    assert "32 samples, global batch 16, 4 steps" in done.stdout
    folder = tmp_path / "logging" / "classification_tiny" / "results"
    results = read_json(folder / "imagenet_epoch_2.json")
    assert not (folder / "imagenet_epoch_1.json").exists()  # evaluated every 5 epochs, and last
    assert {row["class"] for row in results} == set(range(32))
    assert all(len(set(row["predicted"])) == 5 for row in results)
    scores = read_json(folder / "imagenet_epoch_2_scores.json")
    assert scores["top1"] == sum(row["class"] == row["predicted"][0] for row in results) / 32

    train("classification", config, tmp_path, "--from_checkpoint", "--evaluate")
    assert read_json(folder / "imagenet_test.json") == results
