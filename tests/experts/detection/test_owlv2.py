"""OWLv2 with random weights, small."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPTokenizer, Owlv2Config, Owlv2ForObjectDetection

from dataset.class_tables import class_names
from experts.base import RuntimeConfig, Target
from experts.detection import owlv2
from experts.detection.owlv2 import Options, Owlv2Expert

SIDE = 48
LAYERS = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network and a tokenizer of single letters."""
    folder = tmp_path_factory.mktemp("owlv2")
    letters = "abcdefghijklmnopqrstuvwxyz,-/"
    words = ["!", *letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: index for index, word in enumerate(words)}
    CLIPTokenizer(vocab=vocabulary, merges=[], pad_token="!").save_pretrained(folder)
    torch.manual_seed(0)
    config = Owlv2Config(
        text_config=LAYERS
        | {"vocab_size": len(words), "max_position_embeddings": 16}
        | {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1},
        vision_config=LAYERS | {"image_size": SIDE, "patch_size": 8},
        projection_dim=32,
    )
    network = Owlv2ForObjectDetection(config)
    for parameter in network.parameters():
        if parameter.dim() > 1:  # the library's own are so large that boxes have no area
            torch.nn.init.normal_(parameter, std=0.1)
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def expert(checkpoint: Path) -> Owlv2Expert:
    options = Options(str(checkpoint), score_threshold=0.8)
    return owlv2.load(["obj_detection"], options, RuntimeConfig(torch.device("cpu"), Path()))


def image(seed: int, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def test_an_image_is_scaled_to_the_networks_side(expert):
    assert expert.prepare(image(0, (60, 96))).shape == (3, 30, SIDE)
    assert expert.prepare(image(0, (10, 5))).shape == (3, SIDE, 24)
    assert expert.prepare(image(0, (1, 500))).shape == (3, 1, SIDE)


def test_the_numbers_are_the_librarys(expert, checkpoint):
    """Every name is asked for, and the surest are found where the library says."""
    names = class_names("detection")
    assert len(names) == len(expert.queries) == 722
    prepared = expert.prepare(image(1, (SIDE, SIDE)))
    (found,) = expert.predict([prepared])
    network = Owlv2ForObjectDetection.from_pretrained(checkpoint).eval()
    tokens = AutoTokenizer.from_pretrained(checkpoint)(
        [f"a photo of a {name}" for name in names],
        padding="max_length",
        max_length=16,
        truncation=True,
        return_tensors="pt",
    )
    mean, std = (
        torch.tensor(values)[:, None, None]
        for values in ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
    )
    with torch.inference_mode():
        output = network(**tokens, pixel_values=((prepared / 255 - mean) / std)[None])
    scores = output.logits[0].sigmoid()
    best = int(scores.max(1).values.argmax())
    assert found.scores[0].item() == pytest.approx(scores.max().item(), abs=1e-5)
    assert found.classes[0] == scores[best].argmax()
    x, y, width, height = (SIDE * output.pred_boxes[0, best]).tolist()
    corners = np.clip([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 0, SIDE)
    assert found.boxes[0].tolist() == pytest.approx(corners.tolist(), abs=1e-3)
    assert len(found.scores) > 1
    assert (found.scores > 0.8).all()


def test_boxes_of_the_padding_are_none(expert, monkeypatch):
    """Of three boxes a whole pixel, less than one and nothing lies in the image, which is 24 high."""
    corners = torch.tensor([[0.0, 23, 10, 30], [20, 23.2, 30, 30], [30, 30, 40, 40], *[[40, 30, 48, 44]] * 33])
    boxes = torch.cat([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1) / SIDE
    logits = torch.full((1, 36, 722), -9.0)
    logits[..., 5] = 9
    monkeypatch.setattr(expert.network, "box_predictor", lambda features, grid: boxes[None])
    monkeypatch.setattr(expert.network, "class_predictor", lambda features, queries: (logits,))
    (found,) = expert.predict([expert.prepare(image(0, (24, SIDE)))])
    assert found.classes.tolist() == [5]
    torch.testing.assert_close(found.boxes, torch.tensor([[0.0, 23, 10, 24]]))


def test_a_label_does_not_depend_on_other_images(expert, tmp_path):
    prepared = [expert.prepare(image(seed, size)) for seed, size in enumerate([(48, 48), (30, 60), (60, 20)])]
    together = expert.predict(prepared)
    for alone, found in zip(prepared, together, strict=True):
        (again,) = expert.predict([alone])
        assert torch.equal(again.boxes, found.boxes)
        assert torch.equal(again.scores, found.scores)
        assert found.size == tuple(alone.shape[1:])
        assert (found.boxes[:, 2:] <= torch.tensor(found.size[::-1])).all()
    label = expert.decode(together[1], Target((30, 60), "b", tmp_path))["obj_detection"]
    assert label.map.shape == (30, 60)
    assert set(np.unique(label.map)) - {255} <= set(label.instances)


def test_files_are_those_of_a_folder(checkpoint):
    names = {path.name for path in owlv2.files([], Options(str(checkpoint)), Path())}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert owlv2.files([], Options(), Path()) == []
