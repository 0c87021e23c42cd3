"""The released PCA: arrays out of a pickle, once."""

import pickle

import numpy as np
import pytest

from common.errors import UserError
from helpers.checkpoints.pca import convert_pca


def test_arrays_that_are_whole_are_not_made_again(tmp_path):
    arrays = tmp_path / "clip_pca.npz"
    np.savez(arrays, mean=np.zeros(768), components=np.zeros((64, 768)))
    before = arrays.read_bytes()
    convert_pca(tmp_path / "missing.pkl", arrays)
    assert arrays.read_bytes() == before


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 and no more", b"text"])
def test_arrays_that_are_damaged_are_made_again(tmp_path, damage):
    arrays = tmp_path / "clip_pca.npz"
    arrays.write_bytes(damage)
    with pytest.raises(UserError, match=r"clip_pca\.npz: .* replace it with --overwrite"):
        convert_pca(tmp_path / "missing.pkl", arrays)
    with pytest.raises(UserError, match=r"missing\.pkl: missing; fetch it with"):
        convert_pca(tmp_path / "missing.pkl", arrays, overwrite=True)


@pytest.mark.parametrize(
    "content",
    [{"mean_": np.zeros(768)}, [1, 2]],
    ids=["dict", "list"],
)
def test_another_pickle_is_refused(tmp_path, content):
    pickled = tmp_path / "clip_pca.pkl"
    pickled.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=r"clip_pca\.pkl: not the PCA of text embeddings"):
        convert_pca(pickled, tmp_path / "clip_pca.npz")
    assert list(tmp_path.iterdir()) == [pickled]
