"""train_vqa.py, run in forked processes: training, ranking and generating, and mistakes."""

import json
from pathlib import Path

import pytest

from tests.end_to_end.conftest import write_config
from tests.forked_script import forked_script


def config_for(scenes: Path, work: Path, **changes: object) -> Path:
    defaults = {"data_path": str(scenes), "from_scratch": True, "questions_per_image": 4, "augment": False}
    return write_config(work / "vqa.yaml", scenes, **{**defaults, **changes})


def results_of(work: Path, name: str) -> list[dict]:
    return json.loads((work / "logging" / "vqa_tiny" / "results" / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def trained(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder a user worked in, after two epochs."""
    work = tmp_path_factory.mktemp("trained_vqa")
    arguments = ("train_vqa.py", "--exp_name", "tiny", "--config", config_for(scenes, work))
    done = forked_script(*arguments, cwd=work)
    assert done.returncode == 0, done.stderr
    return work


def test_training_leaves_weights_results_and_accuracies(trained, scenes):
    listed = json.loads((scenes / "vqav2_test.json").read_text())
    results = results_of(trained, "vqa_epoch_2")
    assert {row["question_id"] for row in results} == {row["question_id"] for row in listed}
    assert set(results[0]) == {"question_id", "answer"}
    answers = json.loads((scenes / "answer_list.json").read_text())
    assert {row["answer"] for row in results} <= set(answers)
    scores = results_of(trained, "vqa_epoch_2_scores")
    truth = {row["question_id"]: row["answer"][0] for row in listed}
    right = sum(truth[row["question_id"]] == row["answer"] for row in results)
    assert scores["accuracy"] == pytest.approx(right / len(results))
    assert set(scores["by_type"]) <= {"count", "color", "shape", "size", "position", "exist", "read"}
    records = [json.loads(line) for line in (trained / "logging/vqa_tiny/metrics.jsonl").open()]
    assert records[1]["train_loss"] < records[0]["train_loss"]
    described = json.loads((trained / "logging/vqa_tiny/model.json").read_text())
    assert described["usage"]["answers"] == answers


def test_evaluation_by_ranking_given_answers(trained, scenes, tmp_path):
    """A list with an answer twice, a k beyond its length; every score is written; old results are kept."""
    (tmp_path / "few.txt").write_text("yes\nno\nYes\n2\n")
    arguments = ("train_vqa.py", "--exp_name", "tiny", "--config", config_for(scenes, tmp_path))
    flags = ("--from_checkpoint", "--evaluate", "--answers", tmp_path / "few.txt", "--save_ranking")
    for name in ("vqa_test", "vqa_test_2"):
        done = forked_script(*arguments, *flags, cwd=trained)
        assert done.returncode == 0, done.stderr
        assert f"{name}.json" in done.stdout
        assert {row["answer"] for row in results_of(trained, name)} <= {"yes", "no", "2"}
    for row in results_of(trained, "vqa_test_ranking"):
        assert set(row["ranking"]) == {"yes", "no", "2"}
        assert row["answer"] == max(row["ranking"], key=row["ranking"].get)
    assert results_of(trained, "vqa_test") == results_of(trained, "vqa_test_2")


def test_evaluation_by_generating_where_answers_are_unknown(trained, scenes, tmp_path):
    rows = json.loads((scenes / "vqav2_test.json").read_text())
    questions = [{"image": row["image"], "question": row["question"]} for row in rows[:7]]
    questions[3]["question"], questions[4]["question"] = "", "is it red " * 15
    (tmp_path / "mine.json").write_text(json.dumps(questions))
    changes = {
        "dataset": ["custom"],
        "data_path": str(scenes / "vqav2"),
        "inference": "generate",
        "max_new": 4,
    }
    config = config_for(scenes, tmp_path, **changes, test_list=str(tmp_path / "mine.json"), experts="none")
    done = forked_script(
        "train_vqa.py", "--exp_name", "z", "--config", config, "--from_checkpoint", "--evaluate", cwd=trained
    )
    assert "no weights of experiment 'z' in logging/vqa_z; there are: " in done.stderr
    assert done.returncode == 2
    fresh = config_for(scenes, tmp_path, experts="none", label_path="nowhere", max_epoch=1)
    assert forked_script("train_vqa.py", "--exp_name", "z", "--config", fresh, cwd=tmp_path).returncode == 0
    config = config_for(scenes, tmp_path, **changes, test_list=str(tmp_path / "mine.json"), experts="none")
    flags = ("--from_checkpoint", "--evaluate")
    done = forked_script("train_vqa.py", "--exp_name", "z", "--config", config, *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "logging/vqa_z/results/vqa_test.json").read_text())
    assert [row["question_id"] for row in results] == list(range(7))
    assert "no references are given, so no scores" in done.stdout
    assert "1 test questions have more than 30 words: " in done.stdout
    record = json.loads((tmp_path / "logging/vqa_z/results/vqa_test_scores.json").read_text())
    decoding = {"num_beams": 3, "max_new": 4, "length_penalty": -1.0}
    assert record["settings"].items() >= decoding.items()


@pytest.mark.parametrize(
    ("changes", "flags", "message"),
    [
        ({"dataset": ["vqav3"]}, (), "key 'dataset.0'"),
        ({"k_test": 0}, (), "key 'k_test'"),
        ({"min_new": 3, "max_new": 2}, (), "vqa.yaml: min_new 3 is more than max_new 2"),
        ({"answer_list": "none.json"}, (), "none.json: No such file"),
        ({"inference": "generate"}, ("--answers", "few.txt"), "--answers needs 'rank'"),
        ({}, ("--answers", "few.txt"), "few.txt: answer 2 is ''; expected a text"),
        ({"from_scratch": False}, (), "no weights of experiment 'tiny' in logging/pretrain_tiny"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(scenes, tmp_path, changes, flags, message):
    (tmp_path / "few.txt").write_text("yes\n\nno\n")
    config = config_for(scenes, tmp_path, **changes)
    done = forked_script("train_vqa.py", "--exp_name", "tiny", "--config", config, *flags, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "logging").exists()
