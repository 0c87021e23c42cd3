"""train_caption.py, run in forked processes: training, evaluating, and mistakes."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file

from helpers.checkpoints.convert import convert
from helpers.checkpoints.weight_files import read_weights
from helpers.training.checkpoints.folders import find_checkpoints
from tests.end_to_end.conftest import newest_weights, script, write_caption_config
from tests.forked_script import forked_script


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder a user worked in, after two epochs."""
    work = tmp_path_factory.mktemp("trained")
    config = write_caption_config(work / "caption.yaml", scenes, pytorch_model=True)
    done = forked_script("train_caption.py", "--exp_name", "tiny", "--config", config, cwd=work)
    assert done.returncode == 0, done.stderr
    return work


def test_training_leaves_weights_results_and_metrics(trained):
    folder = trained / "logging" / "caption_tiny"
    results = json.loads((folder / "results" / "coco_epoch_2.json").read_text())
    assert [row["image_id"] for row in results] == [1000000, 1000001, 1000002, 1000003]
    assert all(row["caption"].endswith(".") for row in results)
    epochs = [record for record in records(folder) if "CIDEr" in record]
    assert [record["epoch"] for record in epochs] == [1, 2]
    assert epochs[1]["train_loss"] < epochs[0]["train_loss"]
    assert (folder / "model.json").is_file()
    assert load_file(folder / "model.safetensors").keys() == newest_weights(folder).keys()


def test_the_best_weights_are_written_as_the_original_does_too(trained):
    folder = trained / "logging" / "caption_tiny"
    ours, original = load_file(folder / "model.safetensors"), read_weights(folder / "pytorch_model.bin")
    assert ours.keys() == original.keys()
    assert all(value.equal(original[key]) for key, value in ours.items())


def test_a_checkpoint_becomes_a_model_file(trained, tmp_path):
    folder = trained / "logging" / "caption_tiny"
    convert(find_checkpoints(folder)[0], tmp_path / "model.safetensors", "float32")
    newest = newest_weights(folder)
    assert all(value.equal(newest[key]) for key, value in load_file(tmp_path / "model.safetensors").items())
    assert (tmp_path / "model.json").read_text() == (folder / "model.json").read_text()


def test_evaluation_of_a_checkpoint_gives_the_scores_of_training(trained, scenes):
    config = trained / "caption.yaml"
    args = ("train_caption.py", "--exp_name", "tiny", "--config", config, "--from_checkpoint", "--evaluate")
    done = forked_script(*args, cwd=trained)
    assert done.returncode == 0, done.stderr
    folder = trained / "logging" / "caption_tiny"
    scores = json.loads((folder / "results" / "coco_test_scores.json").read_text())["scores"]
    best = max(record["CIDEr"] for record in records(folder) if "CIDEr" in record)
    assert scores["CIDEr"] == pytest.approx(best, abs=1e-6)
    assert "CIDEr" in done.stdout


def test_training_starts_from_pretrained_weights_of_another_resolution(trained, scenes, tmp_path):
    pretrained = tmp_path / "logging" / "pretrain_tiny"
    pretrained.mkdir(parents=True)
    shutil.copy(trained / "logging" / "caption_tiny" / "model.safetensors", pretrained)
    config = write_caption_config(
        tmp_path / "caption.yaml", scenes, from_scratch=False, image_resolution=48, max_epoch=1
    )
    done = forked_script("train_caption.py", "--exp_name", "tiny", "--config", config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    positions = newest_weights(tmp_path / "logging" / "caption_tiny")["expert_encoder.positional_embedding"]
    assert positions.shape == (9, 128)


def test_prismerz_needs_no_labels_and_is_evaluated_zero_shot(scenes, tmp_path):
    changes = {"experts": "none", "label_path": "nowhere", "class_tables": "nowhere", "max_epoch": 1}
    config = write_caption_config(tmp_path / "caption.yaml", scenes, **changes, prefix="")
    arguments = ("train_caption.py", "--exp_name", "z", "--config", config)
    done = forked_script(*arguments, "--mixed_precision", "bf16", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "logging" / "caption_z").rename(tmp_path / "logging" / "pretrain_z")
    done = forked_script(*arguments, "--evaluate", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'prefix ""' in done.stdout
    assert (tmp_path / "logging" / "caption_z" / "results" / "coco_test.json").is_file()


def test_nocaps_is_captioned_and_scored_by_domain_where_that_is_known(trained, scenes, tmp_path):
    rows = json.loads((scenes / "coco_karpathy_test.json").read_text())
    data = tmp_path / "data"
    shutil.copytree(scenes / "vqav2" / "val2014", data / "nocaps" / "val2014")
    nocaps = [{"image": row["image"], "img_id": 70 + index} for index, row in enumerate(rows)]
    (data / "nocaps_val.json").write_text(json.dumps(nocaps))
    for expert in (scenes / "labels").iterdir():
        shutil.copytree(expert / "vqav2", tmp_path / "labels" / expert.name / "nocaps")
    changes = {"dataset": "nocaps", "data_path": str(data), "label_path": str(tmp_path / "labels")}
    config = write_caption_config(tmp_path / "caption.yaml", scenes, **changes)
    shutil.copytree(trained / "logging", tmp_path / "logging", ignore=shutil.ignore_patterns("results"))
    arguments = ("train_caption.py", "--exp_name", "tiny", "--config", config)
    done = forked_script(*arguments, "--from_checkpoint", "--evaluate", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "logging/caption_tiny/results/coco_test.json").read_text())
    assert [row["image_id"] for row in results] == [70, 71, 72, 73]
    assert "no references" in done.stdout

    annotations = [{"image_id": 70 + index, "caption": row["caption"][0]} for index, row in enumerate(rows)]
    domains = ("in-domain", "near-domain", "out-domain", "out-domain")
    listed = [{"id": 70 + index, "domain": domain} for index, domain in enumerate(domains)]
    content = {"images": listed, "annotations": annotations}
    (data / "nocaps_val_4500_captions.json").write_text(json.dumps(content))
    done = forked_script(*arguments, "--from_checkpoint", "--evaluate", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "logging/caption_tiny/results/coco_test_2_scores.json").read_text())
    assert list(scores["domains"]) == ["in-domain", "near-domain", "out-domain", "overall"]
    assert scores["scores"] == scores["domains"]["overall"]
    assert "out-domain" in done.stdout


def test_a_data_set_of_ones_own_needs_no_code(trained, scenes, tmp_path):
    rows = json.loads((scenes / "coco_karpathy_test.json").read_text())
    lines = ["image,caption"] + [f'{row["image"]},"{caption}"' for row in rows for caption in row["caption"]]
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    labels = tmp_path / "labels"
    for expert in (scenes / "labels").iterdir():
        shutil.copytree(expert / "vqav2", labels / expert.name)
    config = write_caption_config(
        tmp_path / "caption.yaml",
        scenes,
        dataset="custom",
        data_path=str(scenes / "vqav2"),
        label_path=str(labels),
        train_list=str(tmp_path / "mine.csv"),
        test_list=str(tmp_path / "mine.csv"),
        max_epoch=1,
        max_caption_tokens=8,
    )
    done = forked_script("train_caption.py", "--exp_name", "mine", "--config", config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert " of 20 training captions have more than 8 tokens: " in done.stdout
    results = json.loads((tmp_path / "logging/caption_mine/results/coco_epoch_1.json").read_text())
    assert [row["image_id"] for row in results] == [row["image"] for row in rows]


@pytest.mark.parametrize(
    ("changes", "arguments", "expected"),
    [
        ({"learning_rate": 1}, (), "unknown key 'learning_rate'"),
        ({"data_path": "nowhere"}, (), "nowhere"),
        ({"label_path": "nowhere"}, (), "label folder nowhere/depth/vqav2 is missing"),
        ({"class_tables": "nowhere"}, (), "nowhere"),
        ({"experts": ["dept"]}, (), "unknown expert 'dept'"),
        ({"max_caption_tokens": 65}, (), "the text tower of prismer_nano reads 64 tokens at most"),
        ({"prismer_model": "prismer_tiny"}, (), "unknown prismer_model 'prismer_tiny'"),
        ({}, ("--from_checkpoint",), "no weights of experiment 'tiny'"),
        (
            {"from_scratch": False},
            (),
            "'tiny' in logging/pretrain_tiny; there is none for pretrain yet; set 'from_scr",
        ),
        ({}, ("--target_dataset", "flickr"), "no section 'flickr'; it has: coco"),
        ({}, ("--full_shard",), "--full_shard needs several processes"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(scenes, tmp_path, changes, arguments, expected):
    config = write_caption_config(tmp_path / "caption.yaml", scenes, **changes)
    arguments = ("--exp_name", "tiny", "--config", config, *arguments)
    done = forked_script("train_caption.py", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert expected in lines[0]
    assert not (tmp_path / "logging").exists()


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
    config = write_caption_config(tmp_path / "caption.yaml", data, max_epoch=1)
    done = forked_script("train_caption.py", "--exp_name", "tiny", "--config", config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert image.name in done.stderr


def test_a_checkpoint_of_another_size_names_the_first_keys(trained, scenes, tmp_path):
    pretrained = tmp_path / "logging" / "pretrain_tiny"
    pretrained.mkdir(parents=True)
    shutil.copy(trained / "logging" / "caption_tiny" / "model.safetensors", pretrained)
    config = write_caption_config(tmp_path / "caption.yaml", scenes, from_scratch=False, experts=["depth"])
    done = forked_script("train_caption.py", "--exp_name", "tiny", "--config", config, cwd=tmp_path)
    assert done.returncode == 2
    assert "made for another model: unexpected 'expert_encoder." in done.stderr
    assert list(tmp_path.glob("logging/caption_*")) == []


def test_a_truncated_checkpoint_is_named(trained, scenes, tmp_path):
    pretrained = tmp_path / "logging" / "pretrain_tiny"
    pretrained.mkdir(parents=True)
    whole = (trained / "logging" / "caption_tiny" / "model.safetensors").read_bytes()
    (pretrained / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    config = write_caption_config(tmp_path / "caption.yaml", scenes, from_scratch=False)
    done = forked_script("train_caption.py", "--exp_name", "tiny", "--config", config, cwd=tmp_path)
    assert done.returncode == 2
    assert "pretrain_tiny/model.safetensors: truncated or not a checkpoint" in done.stderr
