"""What the experts of a quantity per pixel share, and their released files when they are not whole."""

import pickle
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from common.errors import UserError
from experts.base import RuntimeConfig, Target
from experts.dense import DenseExpert, resize, to_bytes
from experts.depth import dpt
from experts.edge import dexined
from experts.normal import nll_angmf

CPU = torch.device("cpu")
WRONG = "weights of another network|holds no state dict"
backends = pytest.mark.parametrize("backend", [dpt, nll_angmf, dexined], ids=["dpt", "nll_angmf", "dexined"])


class Reds(DenseExpert):
    """Sees how red an image is; remembers the batches and what autocast made of its convolution."""

    modality = "depth"

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(nn.Conv2d(3, 1, 1, bias=False), RuntimeConfig(CPU, Path(), dtype), side=6)
        nn.init.constant_(self.network.weight, 0)
        self.network.weight.data[0, 0] = 1
        self.seen: list[tuple[tuple[int, ...], torch.dtype]] = []

    def forward(self, images: Tensor) -> Tensor:
        output = self.network(images)
        self.seen.append((tuple(images.shape), output.dtype))
        return output[:, 0]

    def label(self, raw: Tensor, size: tuple[int, int]) -> np.ndarray:
        return to_bytes(resize(raw[None], size)[0])


def image(red: int, size: tuple[int, int] = (12, 5)) -> Image.Image:
    return Image.new("RGB", size, (red, 90, 9))


def test_images_are_squashed_to_bytes_by_something_that_pickles():
    prepare = pickle.loads(pickle.dumps(Reds().prepare))
    prepared = prepare(image(80))
    assert (prepared.shape, prepared.dtype) == ((3, 6, 6), torch.uint8)
    assert prepared[:, 0, 0].tolist() == [80, 90, 9]


def test_each_image_has_its_own_forward_on_a_cpu():
    expert = Reds()
    raw = expert.predict([expert.prepare(image(red)) for red in (255, 51, 0)])
    assert [shape for shape, _ in expert.seen] == [(1, 3, 6, 6)] * 3
    assert [float(each.mean()) for each in raw] == pytest.approx([1, 0.2, 0])
    label = expert.decode(raw[1], Target((5, 12)))["depth"]
    assert (label.map.shape, label.map.dtype) == ((5, 12), np.uint8)
    assert set(label.map.flat) <= {50, 51}  # truncated


def test_outputs_are_float32_whatever_the_network_computes_in():
    expert = Reds(torch.bfloat16)
    (raw,) = expert.predict([expert.prepare(image(51))])
    assert expert.seen[0][1] == torch.bfloat16
    assert expert.network.weight.dtype == raw.dtype == torch.float32
    assert raw[0, 0] == pytest.approx(0.2, rel=0.01)


def test_resizing_keeps_the_corners():
    values = torch.tensor([[[0.0, 1.0], [0.5, 0.0]]])
    resized = resize(values, (4, 3))[0]
    assert [resized[y, x].item() for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1))] == [0, 1, 0.5, 0]
    assert resized[0, 1] == 0.5
    assert resized[:, 0].tolist() == pytest.approx([0, 1 / 6, 1 / 3, 0.5])


def test_bytes_are_truncated():
    assert to_bytes(torch.tensor([0, 0.999, 1, 254.9 / 255])).tolist() == [0, 254, 255, 254]


@backends
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "damaged"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: torch.save({"model": {"x": torch.ones(2)}}, path), WRONG),
        (lambda path: torch.save({"pretrained.model.pos_embed": torch.ones(3, 5)}, path), WRONG),
        (lambda path: torch.save([1, 2], path), "holds no state dict"),
    ],
)
def test_a_file_that_is_not_whole_is_one_line(
    backend: ModuleType, spoil: Callable[[Path], None], message: str, tmp_path: Path
):
    (path,) = backend.files([], backend.Options(), tmp_path)
    torch.save({"x": torch.ones(100)}, path)
    spoil(path)
    with pytest.raises(UserError, match=message) as error:
        backend.load([], backend.Options(), RuntimeConfig(CPU, tmp_path))
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert "download_checkpoints.py" in str(error.value)
