"""The released PCA of text embeddings as plain arrays."""

import zipfile
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import write_atomically
from common.overwrite import Outputs
from model.modalities import EMBEDDING_DIM

_PCA = "sklearn.decomposition._pca.PCA"  # scikit-learn 0.24


def convert_pca(pickled: Path, arrays: Path, overwrite: bool = False) -> None:
    """Writes the released PCA as npz, unless a complete file is there.

    The arrays are `mean` (768) and `components` (64, 768): an embedding x becomes
    `(x - mean) @ components.T`.

    Raises:
        UserError: the pickle is damaged or holds something else, or another file is in the target's place.
    """
    try:
        with np.load(arrays, allow_pickle=False) as file:
            if _has_shapes(file["mean"], file["components"]):
                return
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # missing or damaged
    Outputs("download_checkpoints.py", overwrite, "move it away if it is your own").check([arrays])
    from common.pickles import read_pickle  # torch takes seconds

    pca = read_pickle(pickled, placeholders=(_PCA,))
    mean, components = getattr(pca, "mean_", None), getattr(pca, "components_", None)
    if not _has_shapes(mean, components):
        raise UserError(f"{pickled}: not the PCA of text embeddings; fetch it again with --force_redownload=True")

    def write(name: Path) -> None:
        with name.open("wb") as file:  # numpy would add a suffix to a name
            np.savez(file, mean=mean, components=components)

    write_atomically(arrays, write)


def _has_shapes(mean: object, components: object) -> bool:
    return np.ndim(mean) == 1 and np.shape(components) == (EMBEDDING_DIM, *np.shape(mean))
