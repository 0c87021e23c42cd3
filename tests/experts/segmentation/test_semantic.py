"""Classes of pixels: leaving classes out and working in pieces changes nothing."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from experts.segmentation.expert import label_map, likely, semantic_scores


def _smooth(classes: int, size: tuple[int, int], seed: int) -> torch.Tensor:
    coarse = torch.rand(classes, 6, 7, generator=torch.Generator().manual_seed(seed)) ** 2
    levels = torch.linspace(0.3, 1, classes)[:, None, None]
    return F.interpolate(coarse[None], size, mode="bilinear")[0] * levels


def test_scores_are_probabilities_times_masks_summed_over_queries():
    random = torch.Generator().manual_seed(0)
    classes = torch.randn(120, 9, generator=random)
    masks = torch.randn(120, 8, 16, generator=random)
    found = semantic_scores(classes, masks, (32, 64), (30, 57))
    full = F.interpolate(masks[None], (32, 64), mode="bilinear")[0].sigmoid()
    expected = torch.einsum("qc,qhw->chw", classes.softmax(1)[:, :-1], full)[:, :30, :57]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("size", [(60, 80), (61, 133), (240, 320), (17, 9), (1, 1)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_label_is_that_of_all_classes(size, seed):
    scores = _smooth(40, (60, 80), seed)
    left = likely(scores)
    assert 1 < len(left.classes) < 40
    expected = F.interpolate(scores[None], size, mode="bilinear")[0].argmax(0).numpy()
    found = label_map(left, size)
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("shape", [(1, 30), (30, 1), (1, 1)])
def test_images_of_a_single_row_or_column(shape):
    scores = torch.rand(20, *shape, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(label_map(likely(scores), shape), scores.argmax(0).numpy())


def test_a_class_that_wins_only_between_two_pixels_stays():
    scores = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[0.6, 0.6]], [[0.3, 0.3]]])  # (4, 1, 2)
    left = likely(scores)
    assert left.classes == [0, 1, 2]
    assert 2 in label_map(left, (1, 9))


def test_ties_go_to_the_first_class():
    scores = torch.zeros(5, 4, 4)
    scores[[2, 4]] = 1
    assert (label_map(likely(scores), (7, 7)) == 2).all()
