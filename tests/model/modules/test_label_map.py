"""Looking up four neighbours equals resizing the whole map of embeddings."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model.modules.label_map import LabelMap
from model.modules.stems import Resize


def plain(label: LabelMap) -> Tensor:
    """The map of embeddings, built in full: (b, c, L, L)."""
    background = label.table.shape[-2] - 1
    samples = []
    for i, index in enumerate(label.index[:, 0].long()):
        table = label.table[i] if label.table.dim() == 3 else label.table
        rows = torch.where(index < background, index, background)  # 255 is no row of a small table either
        samples.append(table[rows].permute(2, 0, 1))
    return torch.stack(samples)


def random_map(side: int, rows: int, per_sample: bool) -> LabelMap:
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(rows, (3, 1, side, side), generator=generator, dtype=torch.uint8)
    index[:, :, : side // 3] = 255
    shape = (3, rows + 1, 64) if per_sample else (rows + 1, 64)
    return LabelMap(index, torch.randn(shape, generator=generator))


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize(("side", "patch"), [(224, 14), (224, 16), (128, 16), (56, 14), (16, 16)])
def test_equals_the_plain_way_in_the_stem(side, patch, per_sample):
    label = random_map(side, 9, per_sample)
    expected = F.interpolate(plain(label), scale_factor=4 / patch, mode="bilinear", align_corners=True)
    torch.testing.assert_close(Resize(4, patch)(label), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("per_sample", [False, True])
def test_filled_it_is_the_same(per_sample):
    label = random_map(20, 9, per_sample)
    label.index[:, :, -4:] = 200  # no row either
    filled = label.filled()
    assert torch.equal(filled.resize(7), label.resize(7))
    assert filled.table.shape == ((3, 256, 64) if per_sample else (10, 64))
    if per_sample:
        assert torch.equal(filled.filled().table, filled.table)


@pytest.mark.parametrize("side", [1, 5, 20, 41])
def test_equals_the_plain_way_at_any_size(side):
    label = random_map(20, 9, per_sample=True)
    expected = F.interpolate(plain(label), size=(side, side), mode="bilinear", align_corners=True)
    torch.testing.assert_close(label.resize(side), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "index", "found"),
    [(2, [[0, 1], [2, 200]], [[0, 1], [2, 2]]), (300, [[254, 255], [255, 0]], [[254, 300], [300, 0]])],
)
def test_255_and_an_index_without_a_row_are_background(rows, index, found):
    table = torch.arange(rows + 1.0)[:, None].expand(-1, 64)
    label = LabelMap(torch.tensor(index, dtype=torch.uint8)[None, None], table)
    assert label.resize(2)[0, 0].tolist() == found
