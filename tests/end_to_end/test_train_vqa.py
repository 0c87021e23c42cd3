"""train_vqa.py, run in forked processes: training, ranking and generating."""

import json
from pathlib import Path

import pytest

from tests.end_to_end.conftest import read_json, train, write_config
from tests.forked_script import forked_script

EVALUATE = ("--from_checkpoint", "--evaluate")
EXPERIMENT = Path("logging/vqa_tiny")


def config_for(scenes: Path, work: Path, **changes: object) -> Path:
    defaults = {"data_path": str(scenes), "from_scratch": True, "questions_per_image": 4, "augment": False}
    return write_config(work / "vqa.yaml", scenes, **{**defaults, **changes})


def results_of(work: Path, name: str) -> list[dict]:
    return read_json(work / EXPERIMENT / "results" / f"{name}.json")


@pytest.fixture(scope="module")
def trained(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder a user worked in, after two epochs."""
    work = tmp_path_factory.mktemp("trained_vqa")
    train("vqa", config_for(scenes, work), work)
    return work


def test_training_leaves_weights_results_and_accuracies(trained, scenes):
    listed = read_json(scenes / "vqav2_test.json")
    results, scores = results_of(trained, "vqa_epoch_2"), results_of(trained, "vqa_epoch_2_scores")
    assert {row["question_id"] for row in results} == {row["question_id"] for row in listed}
    assert set(results[0]) == {"question_id", "answer"}
    answers = read_json(scenes / "answer_list.json")
    assert {row["answer"] for row in results} <= set(answers)
    truth = {row["question_id"]: row["answer"][0] for row in listed}
    right = sum(truth[row["question_id"]] == row["answer"] for row in results)
    assert scores["accuracy"] == pytest.approx(right / len(results))
    assert set(scores["by_type"]) <= {"count", "color", "shape", "size", "position", "exist", "read"}
    first, second = read_json(trained / EXPERIMENT / "metrics.jsonl")
    assert second["train_loss"] < first["train_loss"]
    assert read_json(trained / EXPERIMENT / "model.json")["usage"]["answers"] == answers


def test_evaluation_by_ranking_given_answers(trained, scenes, tmp_path):
    """A list with an answer twice, a k beyond its length; every score is written; old results are kept."""
    (tmp_path / "few.txt").write_text("yes\nno\nYes\n2\n")
    flags = (*EVALUATE, "--answers", tmp_path / "few.txt", "--save_ranking")
    for name in ("vqa_test", "vqa_test_2"):
        assert f"{name}.json" in train("vqa", config_for(scenes, tmp_path), trained, *flags).stdout
        assert {row["answer"] for row in results_of(trained, name)} <= {"yes", "no", "2"}
    for row in results_of(trained, "vqa_test_ranking"):
        assert set(row["ranking"]) == {"yes", "no", "2"}
        assert row["answer"] == max(row["ranking"], key=row["ranking"].get)
    assert results_of(trained, "vqa_test") == results_of(trained, "vqa_test_2")


def test_evaluation_by_generating_where_answers_are_unknown(scenes, tmp_path):
    rows = read_json(scenes / "vqav2_test.json")
    questions = [{"image": row["image"], "question": row["question"]} for row in rows[:7]]
    questions[3]["question"], questions[4]["question"] = "", "is it red " * 15
    (tmp_path / "mine.json").write_text(json.dumps(questions))
    train("vqa", config_for(scenes, tmp_path, experts="none", label_path="nowhere", max_epoch=1), tmp_path)
    changes = {"dataset": ["custom"], "data_path": str(scenes / "vqav2"), "inference": "generate", "max_new": 4}
    config = config_for(scenes, tmp_path, **changes, test_list=str(tmp_path / "mine.json"), experts="none")
    done = train("vqa", config, tmp_path, *EVALUATE)
    assert [row["question_id"] for row in results_of(tmp_path, "vqa_test")] == list(range(7))
    assert "no references are given, so no scores" in done.stdout
    assert "1 test questions have more than 30 words: " in done.stdout
    settings = results_of(tmp_path, "vqa_test_scores")["settings"]
    assert settings.items() >= {"num_beams": 3, "max_new": 4, "length_penalty": -1.0}.items()

    arguments = ("train_vqa.py", "--exp_name", "other", "--config", config, *EVALUATE)
    done = forked_script(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "no weights of experiment 'other' in logging/vqa_other; there are: " in done.stderr
