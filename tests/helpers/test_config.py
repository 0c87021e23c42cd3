"""Configs: what is read, and what each mistake is told."""

from pathlib import Path

import pytest
import yaml

from helpers.config import DemoConfig, read_config, read_model_size, read_yaml
from helpers.task_configs import CaptionConfig, prismer_config
from model.errors import UserError

CONFIGS = Path("configs")
GOOD = {
    "dataset": "coco",
    "data_path": "data",
    "label_path": "data/labels",
    "class_tables": "tables",
    "experts": ["depth", "edge"],
    "prismer_model": "prismer_base",
    "image_resolution": 480,
    "freeze": "freeze_vision",
    "batch_size_train": 4,
    "batch_size_test": 8,
    "init_lr": 5e-5,
    "max_epoch": 3,
}


def write(folder: Path, **changes: object) -> Path:
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump({"coco": {**GOOD, **changes}}))
    return path


@pytest.mark.parametrize("section", ["coco", "nocaps"])
def test_the_published_caption_settings_are_read(section):
    config = read_config(CONFIGS / "caption.yaml", CaptionConfig, section)
    assert (config.init_lr, config.max_epoch, config.image_resolution) == (5e-5, 3, 480)
    assert config.prefix == "A picture of"
    assert config.experts == ["depth", "normal", "seg_coco", "edge", "obj_detection", "ocr_detection"]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("caption_nano*.yaml")), ids=lambda path: path.stem)
def test_the_nano_settings_fit_their_network(path):
    config = read_config(path, CaptionConfig, "coco")
    network = prismer_config(config, read_model_size(config.prismer_model))
    assert network.image_resolution % network.vision.patch_size == 0


def test_the_demo_section_is_read():
    assert read_config(CONFIGS / "caption.yaml", DemoConfig, "demo").backends == {}  # the checkpoint says


@pytest.mark.parametrize("experts", ["none", []])
def test_no_experts_is_prismerz(tmp_path, experts):
    assert read_config(write(tmp_path, experts=experts), CaptionConfig, "coco").experts == []


def test_a_number_without_a_point_in_its_exponent_form_is_a_number(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("lr: 5e-5\nname: e5\n")
    assert read_yaml(path) == {"lr": 5e-5, "name": "e5"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"learning_rate": 1}, "unknown key 'learning_rate'"),
        ({"image_resolution": "480"}, "key 'image_resolution': should be a valid integer"),
        ({"image_resolution": 0}, "key 'image_resolution': should be greater than 0"),
        ({"experts": ["depht"]}, "unknown expert 'depht'; known experts: depth"),
        ({"experts": "depth"}, "key 'experts'"),
        ({"freeze": "all"}, "should be 'none', 'freeze_vision'"),
        ({"from_scratch": "yes"}, "key 'from_scratch': should be a valid boolean"),
        ({"max_length": 5}, "min_length 8 is more than max_length 5"),
        ({"length_penalty": "short"}, "key 'length_penalty': should be a valid number"),
        ({"metrics": ["bleu", "f1"]}, "key 'metrics.1'"),
        ({"prefix": "a b " * 15}, "key 'prefix': should have less than 30 words"),
    ],
)
def test_a_mistake_is_one_line_with_file_key_and_expectation(tmp_path, changes, expected):
    path = write(tmp_path, **changes)
    with pytest.raises(UserError) as error:
        read_config(path, CaptionConfig, "coco")
    message = str(error.value)
    assert message.startswith(f"{path} [coco]: ")
    assert expected in message
    assert "\n" not in message


def test_a_missing_key_is_named(tmp_path):
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump({"coco": {k: v for k, v in GOOD.items() if k != "freeze"}}))
    with pytest.raises(UserError, match="key 'freeze' is missing"):
        read_config(path, CaptionConfig, "coco")


def test_a_missing_section_lists_those_there_are(tmp_path):
    with pytest.raises(UserError, match="no section 'flickr'; it has: coco"):
        read_config(write(tmp_path), CaptionConfig, "flickr")


@pytest.mark.parametrize("text", ["a: [1", "just words", "\xff"])
def test_what_is_not_yaml_is_said(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=str(path)):
        read_yaml(path)


def test_an_unknown_size_lists_those_there_are():
    with pytest.raises(UserError, match="unknown prismer_model 'prismer_giant'; known: prismer_base"):
        read_model_size("prismer_giant")
