"""The miniature's training: its losses are those of the two tasks, and its weights can be used."""

import sys

import pytest
import torch
from accelerate.utils import recursively_apply

from dataset.captions import caption_dataset
from dataset.questions import question_dataset
from dataset.samples import ImageConfig
from helpers.checkpoints.load import build_model, load_model, prepare_inputs
from helpers.checkpoints.weight_files import read_weights
from model.captioning import PrismerCaption
from model.config import PrismerConfig
from model.sizes import read_model_size
from model.vqa import PrismerVQA
from nano import multi_task
from nano.scenes_in_memory import read_images, read_texts, shifted
from nano.train import main
from tests.end_to_end.conftest import ROOT, write_caption_config, write_config

EXPERTS = ("depth", "obj_detection", "ocr_detection")
PREFIX = "A picture of"


@pytest.fixture
def task(scenes):
    """The losses of a new model in evaluation mode on scenes, and their data sets."""
    visual = ImageConfig(
        label_path=scenes / "labels", experts=EXPERTS, image_resolution=32, label_resolution=32, augment=False
    )
    captions = caption_dataset("coco", "train", scenes, visual, prefix=PREFIX, captions_per_image=5)
    questions = question_dataset("vqav2", "train", scenes, visual, questions_per_image=10)
    size = read_model_size("prismer_nano")
    torch.manual_seed(0)
    model = build_model(PrismerVQA, PrismerConfig(size.vision, size.text, EXPERTS, 32, 32), size.tokenizer)
    data = read_images(captions, workers=0) | {"texts": read_texts(model, captions, questions, PREFIX)}
    prepare = prepare_inputs(EXPERTS, ROOT / "nano" / "tables")
    return multi_task.MultiTaskLoss(model, prepare, data, chosen=15).eval(), captions, questions


def test_losses_are_those_of_the_tasks(task, monkeypatch):
    task, captions, questions = task
    monkeypatch.setattr(multi_task, "SHIFT", 0)
    index = torch.tensor([7, 2])
    with torch.no_grad():
        total, _, _, words, _ = task(index)
        inputs = task.prepare(recursively_apply(lambda values: values[index], task.images))
        told = [text for number in index for text in captions.text(int(number))["caption"]]
        captioner = PrismerCaption(task.model.config, task.model.tokenizer).eval()
        captioner.load_state_dict(task.model.state_dict())
        asked = [questions.text(int(number)) for number in index]
        pairs = [[text for row in asked for text in row[key]] for key in ("question", "answer")]
        expected = len(told) * captioner(inputs, told, PREFIX)
        answers = task.model(inputs, *pairs, torch.ones(len(pairs[0])))
        expected += multi_task.ANSWERS * len(pairs[0]) * answers
    assert total - multi_task.WORDS * words == pytest.approx(float(expected / 30), rel=1e-4)


def test_the_words_are_those_of_the_signs(task):
    task, captions, _ = task
    signs = [any("sign" in text for text in captions.text(number)["caption"]) for number in range(12)]
    assert ((task.words >= 0).tolist()) == signs
    assert 0 < sum(signs) < 12


def test_labels_move_with_their_image():
    plane = torch.arange(64).view(1, 1, 8, 8).expand(400, 3, 8, 8)
    torch.manual_seed(0)
    moved = shifted({"rgb": plane, "labels": {"depth": plane[:, :1], "edge": plane[:, :1, ::2, ::2]}}, 2)
    assert torch.equal(moved["rgb"][:, :1], moved["labels"]["depth"])
    assert set((moved["rgb"][:, 0, 4, 4] - plane[0, 0, 4, 4]).tolist()) == {
        8 * y + x for y in range(-2, 3) for x in range(-2, 3)
    }
    assert moved["labels"]["edge"].shape == (400, 1, 4, 4)


def test_both_tasks_get_the_weights(scenes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    caption = write_caption_config(tmp_path / "caption.yaml", scenes, image_resolution=32, label_resolution=32)
    vqa = write_config(tmp_path / "vqa.yaml", scenes, data_path=str(scenes))
    flags = ["--caption", str(caption), "--vqa", str(vqa), "--exp_name", "mine", "--steps", "2"]
    flags += ["--batch_size", "5", "--workers", "0"]
    monkeypatch.setattr(sys, "argv", ["nano.train", *flags])
    main()
    assert "2 steps" in capsys.readouterr().out
    captioner = load_model(PrismerCaption, tmp_path / "logging" / "caption_mine")
    answerer = load_model(PrismerVQA, tmp_path / "logging" / "vqa_mine")
    assert (captioner.usage.prefix, answerer.usage.k) == (PREFIX, 16)
    assert len(answerer.usage.answers) == 99
    own, other = (
        read_weights(tmp_path / "logging" / name / "model.safetensors") for name in ("caption_mine", "vqa_mine")
    )
    assert all(torch.equal(value, other[key]) for key, value in own.items())
