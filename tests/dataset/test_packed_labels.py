"""Unpacking a packed label gives the same bits."""

import numpy as np
import pytest
from PIL import Image

from dataset.label_files import pack_label, packed_size, unpack_label


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sidecar", [None, {"0": 5, "1": 9}])
def test_there_and_back(channels: int, sidecar: dict | None) -> None:
    values = np.random.default_rng(0).integers(0, 256, (20, 30, channels), dtype=np.uint8).squeeze()
    label, beside = unpack_label(pack_label(Image.fromarray(values), sidecar), channels)
    np.testing.assert_array_equal(np.asarray(label), values)
    assert beside == sidecar


def test_nothing_is_no_bytes() -> None:
    assert pack_label(None) == b""
    assert unpack_label(b"", 1) == (None, None)


@pytest.mark.parametrize(
    ("size", "packed"),
    [
        ((480, 300), (480, 300)),
        ((481, 300), (480, 299)),
        ((1000, 500), (480, 240)),
        ((300, 960), (150, 480)),
        ((1, 9600), (1, 480)),
    ],
)
def test_large_labels_become_small_and_keep_their_values(size: tuple[int, int], packed: tuple) -> None:
    assert packed_size(size) == packed
    values = np.random.default_rng(0).choice([3, 200], size[::-1]).astype(np.uint8)
    label, _ = unpack_label(pack_label(Image.fromarray(values)), 1)
    assert label.size == packed
    assert set(np.unique(label)) <= {3, 200}
