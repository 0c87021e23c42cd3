"""Surface normals: the network at a small size, and the label."""

import torch

from experts.normal.network import NormalNetwork
from experts.normal.nll_angmf import normal_label


def test_normals_are_unit_vectors_of_the_images_size():
    torch.manual_seed(0)
    network = NormalNetwork("tf_efficientnet_b0", width=32).eval()
    with torch.no_grad():
        normals = network(torch.randn(2, 3, 64, 96))
    assert normals.shape == (2, 3, 64, 96)
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(2, 64, 96))


def test_components_from_minus_one_to_one_are_bytes():
    normal = torch.tensor([-1.0, 0.0, 1.0])[:, None, None].expand(3, 4, 4)
    label = normal_label(normal, (3, 5))
    assert label.shape == (3, 5, 3)
    assert set(map(tuple, label.reshape(-1, 3).tolist())) == {(0, 127, 255)}


def test_vectors_too_long_are_clipped():
    assert normal_label(torch.full((3, 2, 2), 1.5), (2, 2)).min() == 255
