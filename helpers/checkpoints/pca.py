"""The released PCA of text embeddings as plain arrays."""

from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import write_atomically
from common.overwrite import Outputs

CLIP_DIM = 768  # of ViT-L/14


def convert_pca(pickled: Path, arrays: Path, overwrite: bool = False) -> None:
    """Writes the released PCA as npz, unless a complete file is there.

    The arrays are `mean` (768) and `components` (64, 768): an embedding x becomes `(x - mean) @ components.T`.

    Raises:
        UserError: the pickle is damaged or holds something else, or another file is in the target's place.
    """
    from experts.clip_text import read_pca  # transformers takes seconds

    try:
        read_pca(arrays, CLIP_DIM)
        return
    except UserError:  # missing or damaged
        Outputs("download_checkpoints.py", overwrite, "move it away if it is your own").check([arrays])
    mean, components = read_pca(pickled, CLIP_DIM)

    def write(name: Path) -> None:
        with name.open("wb") as file:  # numpy would add a suffix to a name
            np.savez(file, mean=mean, components=components)

    write_atomically(arrays, write)
