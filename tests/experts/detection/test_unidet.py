"""A config says in which order the network sees colours, and how boxes are cut."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from experts.base import RuntimeConfig, Target
from experts.detection import unidet
from experts.detection.detections import Detections


@pytest.mark.parametrize(("options", "red"), [({}, 2), ({"channel_order": "rgb"}, 0)])
def test_the_network_sees_blue_first_unless_the_config_says(options, red):
    expert = unidet.UniDetExpert(
        torch.nn.Identity(), unidet.Options(**options), RuntimeConfig(torch.device("cpu"), Path())
    )
    pixels = expert.prepare(Image.new("RGB", (8, 6), (200, 100, 50)))[:, 0, 0].tolist()
    assert (pixels[red], pixels[1], pixels[2 - red]) == (200, 100, 50)


@pytest.mark.parametrize(("options", "shown"), [({}, 3), ({"masks": "signed"}, 3), ({"masks": "binary"}, 0)])
def test_boxes_are_cut_as_the_config_says(options, shown, tmp_path):
    """Boxes 0 and 1 hide box 2, and box 0 alone hides box 3, which is around box 2."""
    depth = np.zeros((10, 12), np.uint8)
    depth[0], depth[3:7, 10:] = 255, 50  # box 3 is nearer than box 1, which is nearer than box 2
    (tmp_path / "depth").mkdir()
    Image.fromarray(depth).save(tmp_path / "depth" / "a.png")
    expert = unidet.UniDetExpert(
        torch.nn.Identity(), unidet.Options(**options), RuntimeConfig(torch.device("cpu"), Path())
    )
    boxes = torch.tensor([[4.0, 4, 6, 6], [3, 3, 12, 7], [1, 1, 9, 9], [0, 0, 10, 10]])
    found = Detections(boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.arange(4), (10, 12))
    label = expert.decode(found, Target((10, 12), "a", tmp_path))["obj_detection"]
    assert label.map[4, 4] == shown
