"""The released PCA of text embeddings as plain arrays."""

from pathlib import Path

import numpy as np

from dataset.files import write_atomically
from dataset.pickles import read_pickle
from model.errors import UserError
from model.modalities import EMBEDDING_DIM

_PCA = "sklearn.decomposition._pca.PCA"  # scikit-learn 0.24


def convert_pca(pickled: Path, arrays: Path) -> None:
    """Writes what is needed of the released PCA as npz: `mean` (768) and `components` (64, 768).

    An embedding x becomes `(x - mean) @ components.T`.

    Raises:
        UserError: the pickle is damaged or is something else.
    """
    pca = read_pickle(pickled, placeholders=(_PCA,))
    mean, components = getattr(pca, "mean_", None), getattr(pca, "components_", None)
    if np.ndim(mean) != 1 or np.shape(components) != (EMBEDDING_DIM, len(mean)):
        raise UserError(
            f"{pickled}: not the PCA of text embeddings; fetch it again with --force_redownload=True"
        )

    def write(name: Path) -> None:
        with name.open("wb") as file:  # numpy would add a suffix to a name
            np.savez(file, mean=mean, components=components)

    write_atomically(arrays, write)
