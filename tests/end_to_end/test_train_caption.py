"""train_caption.py, run in forked processes: training, evaluating, and damaged data and weights."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file

from helpers.checkpoints.convert import convert
from helpers.training.resume.folders import find_checkpoints
from tests.end_to_end.conftest import newest_weights, read_json, script, train, write_caption_config
from tests.forked_script import forked_script

EXPERIMENT = Path("logging/caption_tiny")
EVALUATE = ("--from_checkpoint", "--evaluate")


@pytest.fixture(scope="module")
def trained(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder a user worked in, after two epochs."""
    work = tmp_path_factory.mktemp("trained")
    train("caption", write_caption_config(work / "caption.yaml", scenes), work)
    return work


def test_training_leaves_weights_results_and_metrics(trained):
    folder = trained / EXPERIMENT
    results = read_json(folder / "results" / "coco_epoch_2.json")
    assert [row["image_id"] for row in results] == [1000000, 1000001, 1000002, 1000003]
    assert all(row["caption"].endswith(".") for row in results)
    epochs = [record for record in read_json(folder / "metrics.jsonl") if "CIDEr" in record]
    assert [record["epoch"] for record in epochs] == [1, 2]
    assert epochs[1]["train_loss"] < epochs[0]["train_loss"]
    assert (folder / "model.json").is_file()
    assert load_file(folder / "model.safetensors").keys() == newest_weights(folder).keys()


def test_a_checkpoint_becomes_a_model_file(trained, tmp_path):
    folder = trained / EXPERIMENT
    convert(find_checkpoints(folder)[0], tmp_path / "model.safetensors", "float32")
    newest = newest_weights(folder)
    assert all(value.equal(newest[key]) for key, value in load_file(tmp_path / "model.safetensors").items())
    assert (tmp_path / "model.json").read_text() == (folder / "model.json").read_text()


def test_evaluation_of_a_checkpoint_gives_the_scores_of_training(trained):
    done = train("caption", trained / "caption.yaml", trained, *EVALUATE)
    scores = read_json(trained / EXPERIMENT / "results" / "coco_test_scores.json")["scores"]
    best = max(record.get("CIDEr", 0) for record in read_json(trained / EXPERIMENT / "metrics.jsonl"))
    assert scores["CIDEr"] == pytest.approx(best, abs=1e-6)
    assert "CIDEr" in done.stdout


def pretrained(trained: Path, work: Path) -> Path:
    """The trained weights as those of pre-training."""
    folder = work / "logging" / "pretrain_tiny"
    folder.mkdir(parents=True)
    return Path(shutil.copy(trained / EXPERIMENT / "model.safetensors", folder))


def test_training_starts_from_pretrained_weights_of_another_resolution(trained, scenes, tmp_path):
    pretrained(trained, tmp_path)
    changes = {"from_scratch": False, "image_resolution": 48, "max_epoch": 1}
    train("caption", write_caption_config(tmp_path / "caption.yaml", scenes, **changes), tmp_path)
    positions = newest_weights(tmp_path / EXPERIMENT)["expert_encoder.positional_embedding"]
    assert positions.shape == (9, 128)


@pytest.mark.parametrize(
    ("changes", "cut_off", "message"),
    [
        ({"experts": ["depth"]}, 0, "made for another model: unexpected 'expert_encoder."),
        ({}, 10_000, "pretrain_tiny/model.safetensors: truncated or not a checkpoint"),
    ],
)
def test_pretrained_weights_that_do_not_fit_are_named(trained, scenes, tmp_path, changes, cut_off, message):
    weights = pretrained(trained, tmp_path)
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size - cut_off])
    config = write_caption_config(tmp_path / "caption.yaml", scenes, from_scratch=False, **changes)
    done = forked_script("train_caption.py", "--exp_name", "tiny", "--config", config, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / EXPERIMENT).exists()


def test_prismerz_needs_no_labels_and_is_evaluated_zero_shot(scenes, tmp_path):
    changes = {"experts": "none", "label_path": "nowhere", "class_tables": "nowhere", "max_epoch": 1}
    config = write_caption_config(tmp_path / "caption.yaml", scenes, **changes, prefix="")
    train("caption", config, tmp_path, "--mixed_precision", "bf16")
    (tmp_path / EXPERIMENT).rename(tmp_path / "logging" / "pretrain_tiny")
    assert 'prefix ""' in train("caption", config, tmp_path, "--evaluate").stdout
    assert (tmp_path / EXPERIMENT / "results" / "coco_test.json").is_file()


def test_nocaps_is_captioned_and_scored_by_domain_where_that_is_known(trained, scenes, tmp_path):
    rows = read_json(scenes / "coco_karpathy_test.json")
    data, results = tmp_path / "data", tmp_path / EXPERIMENT / "results"
    shutil.copytree(scenes / "vqav2" / "val2014", data / "nocaps" / "val2014")
    nocaps = [{"image": row["image"], "img_id": 70 + index} for index, row in enumerate(rows)]
    (data / "nocaps_val.json").write_text(json.dumps(nocaps))
    for expert in (scenes / "labels").iterdir():
        shutil.copytree(expert / "vqav2", tmp_path / "labels" / expert.name / "nocaps")
    changes = {"dataset": "nocaps", "data_path": str(data), "label_path": str(tmp_path / "labels")}
    config = write_caption_config(tmp_path / "caption.yaml", scenes, **changes)
    shutil.copytree(trained / "logging", tmp_path / "logging", ignore=shutil.ignore_patterns("results"))
    assert "no references" in train("caption", config, tmp_path, *EVALUATE).stdout
    assert [row["image_id"] for row in read_json(results / "coco_test.json")] == [70, 71, 72, 73]

    annotations = [{"image_id": 70 + index, "caption": row["caption"][0]} for index, row in enumerate(rows)]
    domains = ("in-domain", "near-domain", "out-domain", "out-domain")
    listed = [{"id": 70 + index, "domain": domain} for index, domain in enumerate(domains)]
    content = {"images": listed, "annotations": annotations}
    (data / "nocaps_val_4500_captions.json").write_text(json.dumps(content))
    assert "out-domain" in train("caption", config, tmp_path, *EVALUATE).stdout
    scores = read_json(results / "coco_test_2_scores.json")
    assert list(scores["domains"]) == ["in-domain", "near-domain", "out-domain", "overall"]
    assert scores["scores"] == scores["domains"]["overall"]


def test_a_data_set_of_ones_own_needs_no_code(scenes, tmp_path):
    rows = read_json(scenes / "coco_karpathy_test.json")
    lines = ["image,caption"] + [f'{row["image"]},"{caption}"' for row in rows for caption in row["caption"]]
    mine, labels = tmp_path / "mine.csv", tmp_path / "labels"
    mine.write_text("\n".join(lines))
    for expert in (scenes / "labels").iterdir():
        shutil.copytree(expert / "vqav2", labels / expert.name)
    changes = {"dataset": "custom", "data_path": str(scenes / "vqav2"), "label_path": str(labels)}
    changes |= {"train_list": str(mine), "test_list": str(mine), "max_epoch": 1, "max_caption_tokens": 8}
    done = train("caption", write_caption_config(tmp_path / "caption.yaml", scenes, **changes), tmp_path)
    assert " of 20 training captions have more than 8 tokens: " in done.stdout
    results = read_json(tmp_path / EXPERIMENT / "results/coco_epoch_1.json")
    assert [row["image_id"] for row in results] == [row["image"] for row in rows]


def test_a_label_of_another_size_is_one_line_from_a_worker_too(scenes, tmp_path):
    labels = shutil.copytree(scenes / "labels", tmp_path / "labels")
    label = next((labels / "depth").rglob("*SCENE_train*.png"))
    Image.new("L", (7, 5)).save(label)
    config = write_caption_config(tmp_path / "caption.yaml", scenes, label_path=str(labels), num_workers=1)
    done = script("train_caption.py", "--exp_name", "tiny", "--config", config, cwd=tmp_path)
    assert done.returncode == 2
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("error: ")
    assert label.name in message
    assert "7 x 5" in message
    assert "Traceback" not in done.stderr


def test_a_corrupt_image_does_not_stop_a_training(scenes, tmp_path):
    data = shutil.copytree(scenes, tmp_path / "data")
    image = next((data / "vqav2" / "train2014").iterdir())
    image.write_bytes(image.read_bytes()[:500])
    done = train("caption", write_caption_config(tmp_path / "caption.yaml", data, max_epoch=1), tmp_path)
    assert image.name in done.stderr
