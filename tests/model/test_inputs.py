"""From bytes to the model's input."""

import numpy as np
import pytest
import torch

from model.inputs import CLIP_MEAN, CLIP_STD, PrepareInputs

BACKGROUND = torch.full((64,), -7.0)


def table(rows: int) -> torch.Tensor:
    """A table with the value i + 1 everywhere in row i."""
    return torch.arange(1.0, rows + 1)[:, None].expand(rows, 64)


def bytes_(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


@pytest.fixture
def prepare():
    return PrepareInputs({"seg_coco": table(3), "obj_detection": table(5)}, BACKGROUND)


def test_rgb_is_normalised_as_clip_was(prepare):
    rgb = bytes_(2, 3, 4, 4)
    out = prepare({"rgb": rgb, "labels": {}})["rgb"]
    expected = (rgb.numpy().transpose(0, 2, 3, 1) / 255 - CLIP_MEAN) / CLIP_STD
    np.testing.assert_allclose(out.numpy().transpose(0, 2, 3, 1), expected, rtol=1e-5, atol=1e-6)


def test_continuous_labels_are_stretched_per_sample_over_all_channels(prepare):
    normal = bytes_(2, 3, 8, 8) // 2
    normal[1] = 9  # constant: -1
    out = prepare({"rgb": bytes_(2, 3, 4, 4), "labels": {"normal": normal}})["normal"]
    x = normal[0].numpy() / 255
    expected = 2 * (x - x.min()) / (x.max() - x.min() + 1e-6) - 1
    np.testing.assert_allclose(out[0].numpy(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(out[1], torch.full((3, 8, 8), -1.0))


def test_semantic_maps_share_a_table(prepare):
    index = bytes_(2, 1, 8, 8)
    label = prepare({"rgb": bytes_(2, 3, 4, 4), "labels": {"seg_coco": index}})["seg_coco"]
    assert torch.equal(label.index, index)
    assert label.table[:, 0].tolist() == [1, 2, 3, -7]


def test_instances_take_their_class_from_each_sample(prepare):
    classes = torch.tensor([[4, 0, 4], [2, -1, 9]])  # padding and an unknown class are background
    batch = {"rgb": bytes_(2, 3, 4, 4), "labels": {"obj_detection": bytes_(2, 1, 8, 8)}}
    label = prepare(batch | {"tables": {"obj_detection": classes}})["obj_detection"]
    assert label.table[:, :, 0].tolist() == [[5, 1, 5, -7], [3, -7, -7, -7]]


def test_words_bring_their_own_embeddings(prepare):
    words = torch.stack([table(2), torch.zeros(2, 64)])  # the second sample has no word: padding
    words[0, 0, 0] = 0  # a zero in an embedding is no padding
    batch = {"rgb": bytes_(2, 3, 4, 4), "labels": {"ocr_detection": bytes_(2, 1, 8, 8)}}
    label = prepare(batch | {"tables": {"ocr_detection": words}})["ocr_detection"]
    assert label.table[:, :, 1].tolist() == [[1, 2, -7], [-7, -7, -7]]
    assert label.table[0, 0, 0] == 0


def test_without_experts_needs_no_tables():
    assert list(PrepareInputs()({"rgb": bytes_(1, 3, 4, 4), "labels": {}})) == ["rgb"]


def test_adds_nothing_to_a_checkpoint(prepare):
    assert not prepare.state_dict()
