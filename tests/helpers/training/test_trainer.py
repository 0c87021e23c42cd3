"""What the scripts do in each step and epoch, with a tiny network, in this process."""

import importlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

import helpers.training.plan
import helpers.training.run
import helpers.training.trainer
from common.errors import UserError
from common.yaml_config import read_config
from dataset.samples import ImageLabelDataset
from dataset.shuffle import shuffled
from helpers.checkpoints.weight_files import find_weights, read_weights
from helpers.training.distribution import preparation
from helpers.training.flags import training_parser
from helpers.training.optimizer_step import OptimizerStep
from helpers.training.plan import RunPlan, plan_run
from helpers.training.resume.folders import find_checkpoints
from helpers.training.run import Run
from helpers.training.settings import CaptionConfig
from model.captioning import PrismerCaption
from model.freeze import LANGUAGE_LAYERS
from model.vqa import PrismerVQA
from tests.forked import tiny_size

SAMPLES = 10
SETTINGS = {
    **{"label_path": "nowhere", "class_tables": "nowhere", "experts": "none", "prismer_model": "tiny"},
    **{"image_resolution": 24, "augment": False, "freeze": "freeze_lang", "from_scratch": True},
    **{"batch_size_train": 2, "batch_size_test": 3, "num_workers": 0, "max_epoch": 3, "accumulate_steps": 2},
    **{"init_lr": 0.01, "min_lr": 0.001, "weight_decay": 0.07, "warmup_steps": 2, "warmup_lr": 0.002},
    "max_grad_norm": 5.0,
}
WRITING = {"num_beams": 2, "max_length": 12, "min_length": 9, "length_penalty": 0.5, "metrics": ["bleu"]}
PER_TASK = {
    "caption": {"dataset": "custom", "data_path": "data", "train_list": "a.json", "test_list": "b.json"}
    | {"prefix": "A picture of", "max_caption_tokens": 20}
    | WRITING,
    "pretrain": {"dataset": ["vg"], "vg_data_path": "data", "coco_data_path": "data", "test_dataset": "coco"}
    | {"prefix": "A photo of", "max_caption_tokens": 21}
    | WRITING,
    "vqa": {"dataset": ["custom"], "data_path": "data", "train_list": "a.json", "test_list": "b.json"} | {"k_test": 3},
    "classification": {"dataset": "imagenet", "data_path": "data", "prefix": "A photo of a", "shots": 5}
    | {"k_test": 2, "eval_every": 2},
}


@dataclass
class Seen:
    """What a run did; `losses`, `seeds`, `forward` and `modes` by batch."""

    read: list[tuple[int, int]] = field(default_factory=list)  # epoch and index of each training sample
    dataset: ImageLabelDataset | None = None  # the last one that was trained on
    seeds: list[int] = field(default_factory=list)  # of torch's generator
    rates: list[float] = field(default_factory=list)  # learning rates of the steps
    losses: list[float] = field(default_factory=list)
    forward: list[tuple[Any, ...]] = field(default_factory=list)  # arguments after the images
    asked: list[tuple[tuple, dict]] = field(default_factory=list)  # those of `generate` or `rank`
    modes: list[tuple[str, bool]] = field(default_factory=list)  # method and training mode
    step: OptimizerStep | None = None
    prepared: dict[str, Any] = field(default_factory=dict)  # options of `prepare_model`


@dataclass
class Scripts:
    """Runs the scripts in a folder of their own, and sees what they do."""

    work: Path
    seen: Seen = field(default_factory=Seen)

    def run(self, task: str, *flags: str, **changes: object) -> Path:
        """Runs a script to its end; the experiment's folder."""
        self.seen = Seen()
        settings = SETTINGS | PER_TASK[task] | changes
        content = {"mine": settings} if task == "caption" else settings
        (self.work / "config.yaml").write_text(yaml.safe_dump(content))
        section = ["--target_dataset", "mine"] if task == "caption" else []
        name = f"train_{task}"
        sys.argv = [name, "--exp_name", "tiny", "--config", "config.yaml", "--seed", "3", *section, *flags]
        AcceleratorState._reset_state(reset_partial_state=True)
        importlib.import_module(name).main()
        return Path("logging") / f"{task}_tiny"


def write_data(data: Path) -> None:
    """Ten images to train on and four to test on; lists of all tasks."""
    draw = np.random.default_rng(0)
    folders = ("vg", "vqav2", "imagenet_train/n1", "imagenet_train/n2", "imagenet/n1", "imagenet/n2", "")
    for folder in folders:
        (data / folder).mkdir(parents=True, exist_ok=True)
        for number in range(SAMPLES):
            pixels = draw.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(data / folder / f"{number}.png")
    texts = {"caption": "A Red ball.", "question": "what is it", "answer": "red", "weight": 0.5}
    train = [{"image": f"{number}.png"} | texts for number in range(SAMPLES)]
    references = {"caption": ["a red ball", "a ball"], "question": "Is it red", "answer": ["yes"] * 10}
    test = [{"image": f"{number}.png", "question_id": number} | references for number in range(4)]
    lists = {"a.json": train, "vg_caption.json": train, "b.json": test, "coco_karpathy_test.json": test}
    lists |= {"imagenet/imagenet_class.json": {"n1": 0, "n2": 1}, "answer_list.json": ANSWERS}
    lists |= {"imagenet/imagenet_answer.json": ["Tench", "Goldfish"]}
    for name, content in lists.items():
        (data / name).write_text(json.dumps(content))


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripts]:
    write_data(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")  # no Java: it is slow to start
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(helpers.training.plan, "read_model_size", tiny_size)
    scripts = Scripts(tmp_path)
    load, backward, apply = ImageLabelDataset._load, OptimizerStep.backward, OptimizerStep.apply
    prepare = preparation.prepare_model

    def loading(self: ImageLabelDataset, index: int) -> dict[str, Any]:
        if self.training:
            scripts.seen.read.append((self.epoch, index))
            scripts.seen.dataset = self
        return load(self, index)

    def watched_backward(self: OptimizerStep, loss: Tensor) -> None:
        scripts.seen.step = self
        scripts.seen.losses.append(loss.item())
        scripts.seen.seeds.append(torch.initial_seed())
        backward(self, loss)

    def watched_apply(self: OptimizerStep, norm: Tensor) -> None:
        (rate,) = {group["lr"] for group in self.optimizer.param_groups}
        scripts.seen.rates.append(rate)
        apply(self, norm)

    def preparing(*args: Any, **options: Any) -> torch.nn.Module:
        scripts.seen.prepared = options
        return prepare(*args, **options | {"compiled": "none"})  # which takes long

    def watch(cls: type, method: str) -> None:
        original = getattr(cls, method)

        def watched(self: torch.nn.Module, images: dict[str, Tensor], *args: Any, **options: Any) -> Any:
            scripts.seen.modes.append((method, self.training))
            if method == "forward":
                scripts.seen.forward.append((*args, *options.values()))
            else:
                scripts.seen.asked.append((args, options))
            return original(self, images, *args, **options)

        monkeypatch.setattr(cls, method, watched)

    monkeypatch.setattr(ImageLabelDataset, "_load", loading)
    monkeypatch.setattr(OptimizerStep, "backward", watched_backward)
    monkeypatch.setattr(OptimizerStep, "apply", watched_apply)
    monkeypatch.setattr(helpers.training.run, "prepare_model", preparing)
    for cls in (PrismerCaption, PrismerVQA):
        for method in ("forward", "generate", "rank"):
            watch(cls, method)
    yield scripts
    AcceleratorState._reset_state(reset_partial_state=True)


def cosine(share: float) -> float:
    return 0.001 + 0.009 * (1 + np.cos(np.pi * share)) / 2


BY_STEP = [0.002, 0.006, *(cosine(step / 9) for step in range(2, 9))]
BY_EPOCH = [0.002, 0.006, *(cosine((step // 3) / 3) for step in range(2, 9))]
ASKED = {"num_beams": 2, "max_length": 12, "min_length": 9, "length_penalty": 0.5, "return_scores": True}
ANSWERS = ["no", "yes", "a very red ball", "blue"]
QUESTION = (["What is it?"] * 2, ["red"] * 2, [0.5, 0.5])
RANKED = ((["Is it red?"] * 3, ANSWERS, 3), {"counts": [1, 1, 1]})


def captioned(prefix: str, limit: int) -> tuple[tuple, tuple]:
    """What the model is given in training, and in evaluation."""
    return ([f"{prefix} a red ball"] * 2, prefix, limit), ((prefix,), ASKED)


@pytest.mark.parametrize(
    ("task", "rates", "given", "score", "evaluated"),
    [
        ("caption", BY_STEP, captioned("A picture of", 20), "Bleu_1", [1, 2, 3]),
        ("pretrain", BY_EPOCH, captioned("A photo of", 21), "Bleu_1", [1, 2, 3]),
        (
            "vqa",
            BY_EPOCH,
            (QUESTION, ((["Is it red?"] * 3, ANSWERS, 3), {"counts": [1, 1, 1]})),
            "accuracy",
            [1, 2, 3],
        ),
        ("classification", BY_STEP, (None, ((["tench", "goldfish"], 2, "A photo of a"), {})), "top1", [2, 3]),
    ],
)
def test_each_step_has_its_samples_its_rate_and_its_texts(scripts, task, rates, given, score, evaluated):
    folder, (forward, asked) = scripts.run(task), given
    seen = scripts.seen
    orders = [shuffled(SAMPLES, seed=3)(epoch).tolist() for epoch in range(3)]
    assert seen.read == [(epoch, index) for epoch, order in enumerate(orders) for index in order]
    assert seen.rates == pytest.approx(rates)
    plain = [[each.tolist() if torch.is_tensor(each) else each for each in args] for args in seen.forward]
    if forward:
        assert plain == [list(forward)] * 15
    else:  # of two classes, in a drawn order
        names = {text for captions, prefix in plain for text in captions if prefix == "A photo of a"}
        assert names == {"A photo of a tench", "A photo of a goldfish"}
    assert seen.asked[0] == asked
    assert set(seen.modes) == {("forward", True), ("generate" if "num_beams" in asked[1] else "rank", False)}
    assert seen.dataset.transform.crop_scale is None
    assert seen.step.max_grad_norm == 5
    assert seen.step.optimizer.param_groups[0]["weight_decay"] == 0.07
    assert len(find_checkpoints(folder)) == 2
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["train_loss"] for record in records] == pytest.approx(
        [np.mean(seen.losses[first : first + 5]) for first in (0, 5, 10)]
    )
    assert [record["epoch"] for record in records if score in record] == evaluated
    assert seen.seeds == [3] * 5 + [1003] * 5 + [2003] * 5


def test_the_weights_of_the_best_epoch_are_kept(scripts, monkeypatch):
    scores = iter([0.2, 0.7, 0.4])
    monkeypatch.setattr(
        "helpers.evaluation.caption_evaluation.evaluate_captions",
        lambda *_: {"CIDEr": next(scores)},
    )
    folder = scripts.run("caption", keep_last=9)
    third, second, first = (read_weights(find_weights(path)) for path in find_checkpoints(folder))
    best = read_weights(folder / "model.safetensors")
    assert best.keys() == second.keys()
    assert all(value.equal(second[key]) for key, value in best.items())
    moved = {key for key, value in first.items() if not value.equal(third[key])}
    assert not any(re.match(LANGUAGE_LAYERS, key) for key in moved)  # they are frozen
    assert len(moved) > 20
    assert json.loads((folder / "checkpoints/step_00000009/checkpoint.json").read_text())["progress"] == {
        "epoch": 3,
        "consumed": 0,
        "step": 9,
        "skipped_steps": 0,
        "best_score": 0.7,
    }


def test_an_evaluation_takes_the_weights_it_is_told_and_trains_nothing(scripts):
    folder = scripts.run("caption", max_epoch=1)
    before = times(folder)
    scripts.run("caption", "--from_checkpoint", "--evaluate", "--set", "batch_size_test=2", max_epoch=1)
    assert {mode for _, mode in scripts.seen.modes} == {False}
    results = folder / "results"
    trained, again = (json.loads((results / f"mine_{name}.json").read_text()) for name in ("epoch_1", "test"))
    assert again == trained
    assert [row["image_id"] for row in trained] == ["0.png", "1.png", "2.png", "3.png"]
    assert all(row["caption"] == row["caption"].capitalize() for row in trained)
    assert all(row["caption"].endswith(".") for row in trained)
    assert times(folder).items() >= {path: time for path, time in before.items() if path.is_file()}.items()
    assert read_config(results / "mine_test_settings.yaml", CaptionConfig, "mine").batch_size_test == 2


@pytest.mark.parametrize(
    ("settings", "flags"),
    [
        ({"freeze": "freeze_vision", "sync_batchnorm": True}, ()),
        ({"activation_checkpointing": "full"}, ("--compile",)),
    ],
)
def test_settings_of_the_network_reach_it(scripts, settings, flags):
    scripts.run("caption", *flags, max_epoch=1, **settings)
    assert scripts.seen.prepared.items() >= (settings | {"compiled": "blocks" if flags else "none"}).items()


@pytest.mark.parametrize(
    ("task", "settings", "batch", "length", "crop"),
    [
        ("caption", {"augment": True, "captions_per_image": 2}, 4, 10, (0.5, 1.0)),
        ("vqa", {"augment": True, "questions_per_image": 3, "compat": True}, 6, 10, (0.5, 1.0)),
        (
            "pretrain",
            {"augment": True, "samples_per_epoch": 6, "weights": {"vg": 1.0}, "compat": True},
            2,
            6,
            (0.5, 1.5),
        ),
    ],
)
def test_settings_of_the_data_reach_it(scripts, task, settings, batch, length, crop):
    scripts.run(task, max_epoch=1, **settings)
    seen = scripts.seen
    assert [len(args[0]) for args in seen.forward] == [batch] * (length // 2)
    assert len(seen.read) == length
    assert seen.dataset.seed == 3
    assert seen.dataset.transform.crop_scale == crop
    assert seen.dataset.transform.compat == seen.dataset.labels.compat == settings.get("compat", False)


def test_the_seed_decides_weights_and_order(scripts):
    weights, reads = [], []
    for seed in ("4", "4", "5"):
        folder = scripts.run("caption", "--seed", seed, max_epoch=1)
        weights.append(load_file(folder / "model.safetensors")["expert_encoder.positional_embedding"])
        reads.append(scripts.seen.read)
        shutil.rmtree(folder)
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])
    assert reads[0] == reads[1] != reads[2]


def test_flags_come_before_the_config_and_all_settings_are_written(scripts, capsys):
    flags = ("--set", "max_epoch=1", "init_lr=1e-2", "--output_dir", "elsewhere", "--set", "prefix=")
    scripts.run("caption", *flags, init_lr=7.0)
    folder = scripts.work / "elsewhere" / "caption_tiny"
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 1
    said = capsys.readouterr().out
    assert re.search(r"device: cpu, float32, 1 process\nparameters: [\d,]+ trained of [\d,]+\n", said)
    assert "10 samples, global batch 4, 3 steps\n" in said
    config = read_config(folder / "settings.yaml", CaptionConfig, "mine")
    assert (config.max_epoch, config.init_lr, config.prefix) == (1, 0.01, "")
    assert not Path("logging").exists()


def test_epochs_are_counted_from_1_and_a_few_steps_traced(scripts, capsys, monkeypatch):
    monkeypatch.setattr(helpers.training.trainer, "LOG_EVERY", 2)
    folder = scripts.run("caption", "--profile", max_epoch=2)
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(record["epoch"], record["step"]) for record in records] == [
        (1, 2),
        (1, 3),
        (2, 4),
        (2, 6),
        (2, 6),
    ]
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines() if "epoch" in line] == [
        "epoch 1",
        "epoch 2",
    ]
    assert json.loads((folder / "trace.json").read_text())["traceEvents"]


def planned(scripts: Scripts, *flags: str) -> RunPlan:
    AcceleratorState._reset_state(reset_partial_state=True)
    config = read_config(scripts.work / "config.yaml", CaptionConfig, "mine")
    args = training_parser("", config="").parse_args(["--exp_name", "tiny", *flags])
    return plan_run("caption", PrismerCaption, config, args)


def test_a_plan_starts_locks_and_writes_nothing(scripts):
    folder = scripts.run("caption", max_epoch=1)
    before = times(scripts.work)
    with pytest.raises(UserError, match="has checkpoints of an earlier run"):
        planned(scripts)
    assert planned(scripts, "--overwrite").checkpoints == []
    plan = planned(scripts, "--from_checkpoint")
    assert plan.checkpoints == find_checkpoints(folder)
    assert times(scripts.work) == before
    assert not AcceleratorState._shared_state
    (folder / "checkpoints" / "step_00000099").mkdir()
    with pytest.raises(UserError, match="another run has trained in it meanwhile; start again"):
        Run(plan).claim_folder()


@pytest.mark.parametrize("flags", [(), ("--dry_run",)])
def test_another_programs_lock_is_not_written_over(scripts, flags):
    folder = scripts.run("caption", max_epoch=1)
    planned(scripts, "--overwrite", *flags)
    (folder / "lock").write_text("mine")
    with pytest.raises(UserError, match="lock: not written by a run; move it away, or choose another --exp_name"):
        planned(scripts, "--overwrite", *flags)


def times(folder: Path) -> dict[Path, int]:
    """When each file was written, but for the test's own."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != "config.yaml"}


@pytest.mark.parametrize("flags", [(), ("--evaluate", "--from_checkpoint")])
def test_a_dry_run_checks_all_and_writes_nothing(scripts, capsys, flags):
    if flags:
        scripts.run("vqa")
    before = times(scripts.work)
    scripts.run("vqa", "--dry_run", *flags)
    assert times(scripts.work) == before
    assert not scripts.seen.asked
    assert not scripts.seen.losses
    assert capsys.readouterr().out.endswith("dry run: all is in order, nothing is written\n")
    with pytest.raises(UserError, match="k_test"):
        scripts.run("vqa", "--dry_run", "--set", "k_test=0")


def test_settings_that_someone_edited_are_kept(scripts, capsys):
    folder = scripts.run("caption", max_epoch=1)
    file = folder / "settings.yaml"
    written = file.read_text()
    scripts.run("caption", "--from_checkpoint", max_epoch=1)  # by another command
    assert not (folder / "settings_before.yaml").exists()
    file.write_text(written + "# mine\n")
    scripts.run("caption", "--from_checkpoint", max_epoch=1)
    assert (folder / "settings_before.yaml").read_text() == written + "# mine\n"
    assert "settings_before.yaml: the settings that were here before" in capsys.readouterr().out
    assert file.read_text().splitlines()[1:] == written.splitlines()[1:]


@pytest.mark.parametrize(
    ("part", "flags"), [("results", ["--evaluate"]), ("results", []), ("checkpoints", ["--overwrite"])]
)
def test_a_run_that_cannot_write_ends_before_its_work(scripts, part, flags):
    folder = scripts.run("caption", max_epoch=1)
    place = folder / part
    shutil.rmtree(place)
    place.write_text("a file of mine")
    for dry in (["--dry_run"], []):
        own = [] if flags == ["--overwrite"] else ["--from_checkpoint"]
        with pytest.raises(UserError, match=f"{part}/new: cannot be written .*another --output_dir"):
            scripts.run("caption", *own, *flags, *dry, max_epoch=1)
    assert not scripts.seen.asked
    assert place.read_text() == "a file of mine"
