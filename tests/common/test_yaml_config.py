"""Configs: their values, and the message of each mistake."""

import dataclasses
import json
import os
import re
from pathlib import Path

import pytest
import yaml

from common.errors import UserError
from common.yaml_config import read_config, read_yaml
from experts.generate import GenerateConfig
from helpers.checkpoints.load import read_description
from helpers.training.settings import (
    CaptionConfig,
    ClassificationConfig,
    PretrainConfig,
    VQAConfig,
    prismer_config,
)
from model.sizes import read_model_size

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


def default(cls: type, key: str) -> object:
    (field,) = (field for field in dataclasses.fields(cls) if field.name == key)
    return field.default if field.default is not dataclasses.MISSING else field.default_factory()


def documented() -> list[tuple[type, str, object]]:
    """The defaults in the table of docs/training.md."""
    text = Path("docs/training.md").read_text(encoding="utf-8")
    text = text.partition("\n## Settings\n")[2].partition("\n## ")[0]
    found = []
    for keys, values, what in re.findall(r"^\| (`.*?) \| (.+?) \| (.*?) \|$", text, re.MULTILINE):
        cls = VQAConfig if "VQA" in what else ClassificationConfig if "classif" in what else CaptionConfig
        cls = PretrainConfig if "pre-training: " in what else cls
        keys, values = re.findall(r"`(\w+)`", keys), re.sub(r"`|\ball\b", "", values).split(", ")
        for key, value in zip(keys, values if len(values) == len(keys) else values * len(keys), strict=True):
            cls = VQAConfig if key == "questions_per_image" else cls
            found.append((cls, key, yaml.safe_load(value)))
    return found


@pytest.mark.parametrize(
    ("cls", "key", "value"),
    [
        *documented(),
        *((CaptionConfig, *each) for each in {"batch_size_test": 8, "min_lr": 0, "weight_decay": 0.05}.items()),
        (ClassificationConfig, "k_test", 32),
    ],
)
def test_defaults_are_those_of_the_docs(cls, key, value):
    if key == "metrics":
        value = ["bleu", "meteor", "rouge", "cider", "spice"]
    elif key == "min_new":
        value = None  # the model says
    assert default(cls, key) == value


def test_the_experts_config_shows_the_defaults():
    shown = read_config(CONFIGS / "experts.yaml", GenerateConfig)
    for key in ("datasets", "weights_path", "precision", "batch_size", "num_workers", "num_writers"):
        assert default(GenerateConfig, key) == getattr(shown, key)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"image_resolution": 8}, "image_resolution 8 is less than patch_size 16"),
        ({"image_resolution": 2**30}, "key 'image_resolution'"),
        ({"experts": ["depth", "depth"]}, "an expert is named twice"),
    ],
)
def test_settings_that_do_not_go_with_the_size_are_a_line(tmp_path, changes, expected):
    config = read_config(write(tmp_path, prismer_model="prismer_nano", **changes), CaptionConfig, "coco")
    with pytest.raises(UserError, match=expected):
        prismer_config(config, read_model_size(config.prismer_model))


@pytest.mark.parametrize(("dataset", "expected"), [(["vg", "vg"], "twice: vg"), ([], "is empty")])
def test_sources_are_some_and_different(tmp_path, dataset, expected):
    path = tmp_path / "vqa.yaml"
    path.write_text(yaml.safe_dump({**read_yaml(CONFIGS / "vqa.yaml"), "dataset": dataset}))
    with pytest.raises(UserError, match=f"key 'dataset': .*{expected}"):
        read_config(path, VQAConfig)


@pytest.mark.parametrize("experts", ["none", []])
def test_no_experts_is_prismerz_and_a_prefix_has_no_spaces_around_it(tmp_path, experts):
    config = read_config(write(tmp_path, experts=experts, prefix=" A picture of "), CaptionConfig, "coco")
    assert (config.experts, config.prefix) == ([], "A picture of")


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
        ({"metrics": ["bleu", "bleu"]}, "key 'metrics': has a name twice: bleu, bleu"),
        ({"metrics": []}, "key 'metrics': is empty; name at least one"),
        ({"min_lr": 1e-4}, "min_lr 0.0001 is more than init_lr 5e-05"),
        ({"class_tables": ""}, "key 'class_tables': is empty; name a folder"),
        ({"train_list": ""}, "key 'train_list'"),
        ({"prefix": "a b " * 15}, "key 'prefix': should have less than 30 words"),
        ({"max_epoch": 2**31}, "key 'max_epoch': should be less than 2147483648"),
        ({"warmup_steps": 2**31}, "key 'warmup_steps': should be less than 2147483648"),
        ({"warmup_steps": -1}, "key 'warmup_steps': should be greater than or equal to 0"),
        ({"num_workers": 1025}, "key 'num_workers': should be less than or equal to 1024"),
        ({"num_workers": -1}, "key 'num_workers': should be greater than or equal to 0"),
        ({"init_lr": -1e-9}, "key 'init_lr': should be greater than or equal to 0"),
        ({"max_grad_norm": 0}, "key 'max_grad_norm': should be greater than 0"),
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


@pytest.mark.parametrize(
    "changes",
    [
        {"prefix": "a " * 28 + "a"},
        {"max_epoch": 2**31 - 1, "warmup_steps": 2**31 - 1, "num_workers": 1024},
        {"max_epoch": 1, "warmup_steps": 0, "num_workers": 0, "init_lr": 0, "max_grad_norm": 1e-9},
        {"max_length": 8},
    ],
)
def test_the_greatest_and_the_least_values_are_taken(tmp_path, changes):
    config = read_config(write(tmp_path, **changes), CaptionConfig, "coco")
    assert {key: getattr(config, key) for key in changes} == changes


@pytest.mark.parametrize(("tokens", "message"), [(512, ""), (513, "reads 512 tokens at most; lower it")])
def test_captions_fit_the_text_tower(tmp_path, tokens, message):
    config = read_config(write(tmp_path, max_caption_tokens=tokens), CaptionConfig, "coco")
    size = read_model_size("prismer_base")
    if not message:
        assert prismer_config(config, size).label_resolution == 224
        return
    with pytest.raises(UserError, match=message):
        prismer_config(config, size)


@pytest.mark.parametrize(
    ("more", "section", "expected"),
    [
        ({}, "coco", r"task.yaml \[coco\]: key 'init_lr' is missing"),
        ({"int_lr": 1}, "coco", r"unknown key 'int_lr'; is 'init_lr' meant\?$"),  # before the missing one
        ({}, "flickr", "no section 'flickr'; it has: coco"),
    ],
)
def test_missing_and_misspelt_names(tmp_path, more, section, expected):
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump({"coco": {key: GOOD[key] for key in GOOD if key != "init_lr"} | more}))
    with pytest.raises(UserError, match=expected):
        read_config(path, CaptionConfig, section)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("init_lr=fast", "--set: key 'init_lr': should be a valid number, got \"fast\""),
        ("init_lr=.nan", "--set init_lr: nan is no finite number"),
        ("max_epochs=1", "--set: unknown key 'max_epochs'; is 'max_epoch' meant?"),
        ("experts=[depth, deep]", "--set: key 'experts': unknown expert 'deep'"),
        ("experts=[depth", "--set experts: not readable as YAML: while parsing a flow sequence at line 1"),
        ("experts=depth", "--set: key 'experts': should be a list; write [depth]"),
        ("min_length=21", "task.yaml [coco], with --set: min_length 21 is more than max_length 20"),
        ("=1", "--set =1: write it as key=value"),
        ("max_epoch", "--set max_epoch: write it as key=value"),
    ],
)
def test_a_setting_of_the_command_line_is_checked_like_the_files(tmp_path, change, expected):
    with pytest.raises(UserError, match=re.escape(expected)):
        read_config(write(tmp_path), CaptionConfig, "coco", [change])


def test_settings_of_the_command_line_come_before_the_files(tmp_path):
    path = write(tmp_path, max_grad_norm=1.0)
    changes = ["init_lr=1e-4", "prefix=A = b", "experts=[edge]", "max_grad_norm=null", "augment=no"]
    config = read_config(path, CaptionConfig, "coco", changes)
    assert (config.init_lr, config.prefix, config.experts) == (1e-4, "A = b", ["edge"])
    assert (config.max_grad_norm, config.augment, config.max_epoch) == (None, False, 3)
    with pytest.raises(UserError, match="--set: key 'prefix' is there twice"):
        read_config(path, CaptionConfig, "coco", [*changes, "prefix=x"])


@pytest.mark.parametrize(("source", "key"), [("cc12m", "cc12m"), ("cc3m_sgu", "cc3m"), ("vg", "vg")])
def test_the_place_of_a_source(source, key):
    config = read_config(CONFIGS / "pretrain.yaml", PretrainConfig)
    changed = dataclasses.replace(config, **{f"{key}_data_path": Path("elsewhere")})
    assert (config.source_path(source), changed.source_path(source)) == (Path("data"), Path("elsewhere"))
    with pytest.raises(UserError, match=f"key '{key}_data_path' is missing; the data set '{source}' needs it"):
        dataclasses.replace(config, **{f"{key}_data_path": None}).source_path(source)


def test_an_unknown_size_lists_those_there_are():
    with pytest.raises(UserError, match="unknown prismer_model 'prismer_giant'; known: prismer_base"):
        read_model_size("prismer_giant")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: {b: !!set {x, y}}", "key a.b: a set is no value here"),
        ("a: !!binary aGVsbG8=", "key a: a bytes is no value here"),
        ("a: !!timestamp 2020-01-01", "key a: a date is no value here"),
        ("a: &x [*x]", "key a: holds itself"),
        ("1: x", "key 1 is no text; put it in quotes"),
        ("on: x", "key True is no text; put it in quotes"),
        ("a: 1\nb: 2\na: 3", "key 'a' is there twice"),
        ("a: .inf", "key a: inf is no finite number"),
        ("a: [.nan]", "key a: nan is no finite number"),
        ("a: " + "9" * 50, "key a: a whole number of more than 64 bits"),
        ("a: 9223372036854775808", "key a: a whole number of more than 64 bits"),
        ("a: -9223372036854775809", "key a: a whole number of more than 64 bits"),
        ("a: " + "9" * 5000, "not readable as YAML"),
        ('a: "\\ud800"', "is not Unicode"),
        ('a: "x\\0.jpg"', "key a: holds a zero byte"),
        ("a: " + "[" * 3000, "too many levels"),
        ("a: !!int x", "not readable as YAML"),
        ("a: !!python/object:os.system {}", "not readable as YAML"),
        ("\ta: 1", "not readable as YAML"),
        ("", "expected a mapping"),
        ("- a", "expected a mapping"),
        (
            "a: &a [x,x,x,x,x,x,x,x,x]\n"
            + "".join(
                f"{key}: &{key} [{','.join(f'*{before}' for _ in range(9))}]\n"
                for before, key in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            "more than 100000 values",
        ),
    ],
)
def test_yaml_that_json_could_not_hold_is_a_line(tmp_path, text, expected):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(str(path))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [9223372036854775807, -9223372036854775808]", {"a": [2**63 - 1, -(2**63)]}),
        ("prefix: 2020-01-01", {"prefix": "2020-01-01"}),
        ("b: &b {c: 1}\nd: {<<: *b, c: 2}", {"b": {"c": 1}, "d": {"c": 2}}),
        ("lr: 5e-5\nname: e5", {"lr": 5e-5, "name": "e5"}),
    ],
)
def test_values_as_everyone_means_them(tmp_path, text, expected):
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8-sig")
    assert read_yaml(tmp_path / "c.yaml") == expected


def test_a_config_that_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path, tmp_path / "pipe.yaml", Path("/dev/zero")):
        with pytest.raises(UserError, match=f"{path}: cannot be read"):
            read_yaml(path)


@pytest.mark.parametrize(
    ("part", "changes", "expected"),
    [
        ("vision", {"width": 100, "heads": 3}, "width 100 is not a multiple of heads 3"),
        ("vision", {"layers": 0}, "greater than or equal to 1"),
        ("vision", {"layers": 10**9}, "less than or equal to 1000"),
        ("vision", {"heads": -4}, "greater than or equal to 1"),
        ("text", {"hidden_size": 10, "heads": 4}, "hidden_size 10 is not a multiple of heads 4"),
        ("text", {"dropout": 1.5}, "key 'text.dropout': should be less than 1"),
        ("text", {"dropout": -0.1}, "greater than or equal to 0"),
        ("text", {"eos_id": 668}, "three of the 668 tokens"),
        ("text", {"eos_id": 1}, "three of the 668 tokens"),
        ("text", {"max_positions": 2}, "leaves none after pad_id 1"),
    ],
)
def test_sizes_that_no_network_can_have(tmp_path, part, changes, expected):
    sizes = yaml.safe_load((CONFIGS / "models.yaml").read_text())
    sizes["prismer_nano"][part] |= changes
    (tmp_path / "models.yaml").write_text(yaml.safe_dump(sizes))
    with pytest.raises(UserError, match=expected):
        read_model_size("prismer_nano", tmp_path / "models.yaml")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"config": {"image_resolution": 8}}, "image_resolution 8 is less than patch_size 16"),
        ({"config": {"experts": ["depth", "depth"]}}, "named twice"),
        ({"config": {"experts": ["x"]}}, "unknown expert 'x'"),
        ({"usage": {"k": 0}}, "greater than 0"),
        ({"usage": {"decoding": {"num_beams": 0}}}, "num_beams must be a whole number from 1 on"),
        ({"usage": {"decoding": {"beams": 3}}}, "unknown key 'beams'"),
        ({"usage": {"answers": [""]}}, "at least 1 character"),
        ({"tokenizer": 3}, "damaged"),
        ({"class_tables": None}, "damaged"),
    ],
)
def test_a_description_that_no_model_can_have(tmp_path, changes, expected):
    content = json.loads(Path("nano/caption_prismer_nano/model.json").read_text())
    for key, value in changes.items():
        content[key] = content[key] | value if isinstance(value, dict) else value
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=expected):
        read_description(tmp_path / "model.safetensors", {})
