"""The experts of a quantity per pixel: what they share, and their labels."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from experts.base import RuntimeConfig, Target
from experts.dense import DenseExpert, resize, to_bytes
from experts.depth.label import depth_label
from experts.edge.dexined import edge_label
from experts.normal.nll_angmf import normal_label


class Reds(DenseExpert):
    """Sees how red an image is; remembers its batches and the dtype of its convolution's output."""

    modality = "depth"

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(nn.Conv2d(3, 1, 1, bias=False), RuntimeConfig(torch.device("cpu"), Path(), dtype), side=6)
        nn.init.constant_(self.network.weight, 0)
        self.network.weight.data[0, 0] = 1
        self.seen: list[tuple[tuple[int, ...], torch.dtype]] = []

    def forward(self, images: Tensor) -> Tensor:
        output = self.network(images)
        self.seen.append((tuple(images.shape), output.dtype))
        return output[:, 0]

    def label(self, raw: Tensor, size: tuple[int, int]) -> np.ndarray:
        return to_bytes(resize(raw[None], size)[0])


def prepared(expert: Reds, red: int) -> Tensor:
    return pickle.loads(pickle.dumps(expert.prepare))(Image.new("RGB", (12, 5), (red, 90, 9)))


def test_images_are_squashed_and_each_has_its_own_forward_on_a_cpu():
    expert = Reds()
    inputs = [prepared(expert, red) for red in (255, 51, 0)]
    assert (inputs[1].dtype, inputs[1][:, 0, 0].tolist()) == (torch.uint8, [51, 90, 9])
    raw = expert.predict(inputs)
    assert [shape for shape, _ in expert.seen] == [(1, 3, 6, 6)] * 3
    assert [float(each.mean()) for each in raw] == pytest.approx([1, 0.2, 0])
    label = expert.decode(raw[1], Target((5, 12)))["depth"]
    assert (label.map.shape, label.map.dtype) == ((5, 12), np.uint8)
    assert set(label.map.flat) <= {50, 51}  # truncated


def test_outputs_are_float32_whatever_the_network_computes_in():
    expert = Reds(torch.bfloat16)
    (raw,) = expert.predict([prepared(expert, 51)])
    assert expert.seen[0][1] == torch.bfloat16
    assert expert.network.weight.dtype == raw.dtype == torch.float32
    assert raw[0, 0] == pytest.approx(0.2, rel=0.01)


def test_the_nearest_is_white_and_the_strongest_edge_black():
    depth = torch.tensor([[3.0, 5.0], [7.0, 11.0]])
    assert depth_label(depth, (2, 2)).tolist() == [[0, 63], [127, 255]]
    enlarged = depth_label(depth, (5, 9))
    assert (enlarged.shape, enlarged[0, 0], enlarged[-1, -1]) == ((5, 9), 0, 255)
    label = edge_label(torch.logit(torch.tensor([[0.2, 0.4], [0.6, 0.8]])), (2, 2))
    assert np.abs(label.astype(int) - [[255, 170], [85, 0]]).max() <= 1


@pytest.mark.parametrize("label", [depth_label, edge_label])
def test_a_flat_map_is_zeros(label):
    assert label(torch.full((4, 4), 3.0), (2, 3)).tolist() == [[0] * 3] * 2


def test_components_of_normals_from_minus_one_to_one_are_bytes():
    normal = torch.tensor([-1.0, 0.0, 1.5])[:, None, None].expand(3, 4, 4)
    label = normal_label(normal, (3, 5))
    assert label.shape == (3, 5, 3)
    assert set(map(tuple, label.reshape(-1, 3).tolist())) == {(0, 127, 255)}
