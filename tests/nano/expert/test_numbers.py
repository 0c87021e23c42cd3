"""Losses, scores and the committed network against numbers computed by hand or recorded."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from dataset.label_files import Word
from experts.base import Label
from nano.expert import losses
from nano.expert.backend import FOLDER, LABELS, NanoExpert, read_network
from nano.expert.metrics import Scores, count_found
from nano.expert.network import NanoConfig
from nano.expert.training_data import NO_WORD, Truth
from nano.scenes.scene import render_scene


def tensor(*values: float, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype).view(shape)


def test_the_loss_of_each_map():
    maps = {
        "depth": tensor(0.5, 0.25, 0, 1, shape=(1, 1, 2, 2)),
        "normal": tensor(-1, 2, 1, 0, shape=(1, 1, 2, 2)).repeat(1, 3, 1, 1) * tensor(1, 1, 0, shape=(1, 3, 1, 1)),
        "edge": torch.full((1, 1, 4, 4), 2.0),
        "semantic": tensor(0, 3, shape=(1, 2, 1, 1)).repeat(1, 1, 2, 2),
        "classes": tensor(1, 0, 2, shape=(1, 3, 1, 1)).repeat(1, 1, 2, 2),
        "centre": tensor(math.log(3), 0, 0, 0, shape=(1, 1, 2, 2)),
        "offset": tensor(1, 0, 0, 0, 0, 0.5, 3, 0, shape=(1, 2, 2, 2)),
        "text": tensor(2, 2, 2, -2, shape=(1, 1, 2, 2)),
    }
    bytes_ = {
        "depth": tensor(255, 0, 0, 255, shape=(1, 2, 2)),
        "normal": tensor(255, 255, 0, shape=(1, 3, 1, 1)).repeat(1, 1, 2, 2),
        "edge": tensor(*[0] * 12, *[255] * 4, shape=(1, 4, 4)),
        "semantic": tensor(1, 1, 1, 0, shape=(1, 2, 2)),
        "classes": tensor(0, 1, 2, 2, shape=(1, 2, 2)),  # 2 is background
        "centre": tensor(255, 0, 0, 0, shape=(1, 2, 2)),
        "offset": tensor(0, 2, 9, 9, 0, 0, 9, 9, shape=(1, 2, 2, 2)),
        "text": tensor(1, 1, 0, 0, shape=(1, 2, 2)),
    }
    found = losses.map_losses(maps, {name: values.byte() for name, values in bytes_.items()})
    sure, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))  # of logit 2
    partition = math.log(math.e + 1 + math.e**2)
    angle = math.sqrt(2 / 3)  # between (1, 1, 0) and (1, 1, -1)
    expected = {
        "depth": 0.75 / 4,
        "normal": 1 - (-angle + angle + angle + 0) / 4,
        "edge": (12 * sure + 4 * wrong) / 16,
        "semantic": math.log(1 + math.exp(3)) - 9 / 4,
        "classes": partition - (1 + 0 + 2 + 2) / 4,
        "centre": (0.25**2 + 3 * 0.25) / 4,
        "offset": (1 + 2 + 0.5) / 2,
        "text": (3 * sure + wrong) / 4,
    }
    assert {name: loss.item() for name, loss in found.items()} == pytest.approx(expected, rel=1e-5)


class Reader:
    """Records the boxes it is given, and reads each word as the second."""

    def read(self, images: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        self.boxes = boxes
        return torch.tensor([[0.0, 1.0]]).repeat(len(boxes), 1)


def test_words_are_read_in_boxes_that_are_not_exact():
    count = 400
    words = torch.ones(count, dtype=torch.long)
    words[::2] = NO_WORD
    words[1] = 0
    targets = {"images": torch.zeros(count), "word": words, "box": torch.tensor([[20.0, 30, 60, 50]] * count)}
    reader = Reader()
    loss = losses.word_loss(reader, targets, torch.Generator().manual_seed(0)).item()
    assert loss == pytest.approx(math.log(1 + math.e) - 199 / 200)
    assert reader.boxes[:, 0].tolist() == list(range(1, count, 2))
    moved = reader.boxes[:, 1:] - targets["box"][0]
    assert -4 <= moved.min() < -3.9
    assert 3.9 < moved.max() <= 4
    assert moved.unique().numel() > 700
    for number, expected in ((1, 0), (2, math.log(1 + math.e) - 1)):  # one alone has no batch norm
        few = {name: values[3 : 2 + 2 * number] for name, values in targets.items()}
        assert losses.word_loss(reader, few, torch.Generator()).item() == pytest.approx(expected)


def test_half_of_the_scenes_without_a_word_are_mirrored():
    word = torch.full((400,), NO_WORD)
    word[200:] = 3
    targets = {
        "word": word,
        "box": torch.tensor([[1.0, 2, 3, 4]] * 400),
        "depth": tensor(1, 2, shape=(1, 1, 2), dtype=torch.uint8).repeat(400, 1, 1),
        "normal": tensor(10, 20, 3, 4, 5, 6, shape=(1, 3, 1, 2), dtype=torch.uint8).repeat(400, 1, 1, 1),
        "offset": tensor(1, 2, 3, 4, shape=(1, 2, 1, 2)).repeat(400, 1, 1, 1),
    }
    mirrored = losses.mirror(targets, torch.Generator().manual_seed(0))
    turned = mirrored["depth"][:, 0, 0] == 2
    assert 80 < turned[:200].sum() < 120
    assert not turned[200:].any()
    for name, expected in (
        *(("depth", [[2, 1]]), ("normal", [[[235, 245]], [[4, 3]], [[6, 5]]])),
        *(("offset", [[[-2, -1]], [[4, 3]]]), ("box", [1, 2, 3, 4])),
    ):
        assert (mirrored[name][turned] == torch.tensor(expected)).all()
        assert torch.equal(mirrored[name][~turned], targets[name][~turned])


def label(*rows: list[int], **more: object) -> Label:
    return Label(np.array(rows, np.uint8), **more)


def test_scores_of_two_scenes():
    up, side = [128, 128, 255], [255, 128, 128]
    near_0 = 128 / 127.5 - 1
    right_angle = math.degrees(math.acos((2 * near_0 + near_0**2) / (1 + 2 * near_0**2)))
    truth = Truth(
        {
            "depth": np.array([[0, 255]], np.uint8),
            "edge": np.array([[255, 255]], np.uint8),
            "normal": np.array([[up, up]], np.uint8),
            "seg_scenes": np.array([[0, 1]], np.uint8),
            "obj_detection": np.array([[0, 1]], np.uint8),
        },
        {0: 5, 1: 6},
        ("stop", []),
    )
    word = {0: Word("stop", np.zeros(64))}
    labels = {
        "depth": label([51, 0]),
        "edge": label([0, 255]),
        "normal": label([up, side]),
        "seg_scenes": label([0, 0]),
        "obj_detection": label([3, 255], instances={3: 5, 4: 6, 7: 6}),
        "ocr_detection": label([0, 0], words=word),
    }
    scores = Scores(semantic_classes=3)
    scores.add(labels, truth)
    scores.add(labels, Truth(truth.maps, {}, None))
    scores.add(labels | {"ocr_detection": Label(None)}, truth)
    assert scores.summary() == pytest.approx(
        {
            "depth_error": 0.6,
            "edge_error": 0.5,
            "normal_degrees": right_angle / 2,
            "segmentation_miou": 0.25,  # class 0: 3 of 6 pixels; class 1: none of 3; class 2 is nowhere
            "instances_found": 0.5,
            "instances_right": 2 / 9,
            "words_read": 0.5,
            "words_invented": 1,
        },
        abs=1e-4,
    )


@pytest.mark.parametrize(
    ("ids", "classes", "found"),
    [
        ([0, 0, 0, 255], {0: 5}, 1),
        ([0, 0, 255, 255], {0: 5}, 0),  # half of it is not enough
        ([0, 0, 0, 255], {0: 6}, 0),
        ([0, 1, 1, 1], {0: 5, 1: 5}, 1),
        ([0, 0, 0, 0], {0: 5, 1: 5}, 1),
        ([255, 255, 255, 255], {0: 5}, 0),
    ],
)
def test_an_instance_is_found_with_its_class_and_half_of_its_area(ids, classes, found):
    assert count_found(np.array([ids]), classes, np.array([[4, 4, 4, 4]]), {4: 5, 9: 5}) == found


def moments(values: np.ndarray) -> list[float]:
    """Means of a map (..., h, w): of its values, and of them times 0 to 1 from the left, and from the top."""
    height, width = values.shape[-2:]
    across, down = np.linspace(0, 1, width), np.linspace(0, 1, height)[:, None]
    return [float((values * weight).mean(dtype=np.float64)) for weight in (1, across, down)]


MOMENTS = {
    "depth": (0.3971, 0.202, 0.2951),
    "normal": (0.5612, 0.2719, 0.3246),
    "edge": (0.0461, 0.0232, 0.0246),
    "semantic": (1.2768, 0.6366, 0.7937),
    "classes": (-6.4073, -3.3812, -3.3042),
    "centre": (0.0233, 0.0122, 0.0129),
    "offset": (0.3073, 0.0354, -0.8332),
    "text": (0.0252, 0.0087, 0.016),
}


def test_the_committed_network_gives_its_recorded_numbers():
    network = read_network(FOLDER)
    assert network.config == NanoConfig(words=network.config.words)
    expert = NanoExpert(network, tuple(LABELS), torch.device("cpu"))
    image = expert.prepare(Image.fromarray(render_scene([987, 3]).image))
    (raw,) = expert.predict([image])
    found = {name: moments(values) for name, values in raw.items() if name != "word"}
    with torch.inference_mode():
        logits = network.read(image[None], torch.tensor([[0.0, 40, 50, 90, 70]]))[0]
    assert found == {name: pytest.approx(values, rel=1e-2, abs=2e-4) for name, values in MOMENTS.items()}
    assert raw["word"].text == "park"
    assert logits[:4].tolist() == pytest.approx([-10.313, -20.307, -19.756, -20.292], abs=0.02)
