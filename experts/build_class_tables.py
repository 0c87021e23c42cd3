"""Makes the table of embeddings that the model needs for your own classes.

    python -m experts.build_class_tables --names pets.txt --out data/class_tables/pets.npz

A name is embedded as it stands, by CLIP's text tower and the PCA, as in the released tables.
"""

import argparse
from pathlib import Path

from common.cli import named_path, run
from common.overwrite import Outputs, add_flag
from experts.registry import WEIGHTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--names",
        type=named_path,
        required=True,
        help="the classes, in order: a JSON array, or a text file, one a line",
    )
    parser.add_argument("--out", type=named_path, required=True, help="<folder>/<table>.npz")
    parser.add_argument(
        "--clip", default="openai/clip-vit-large-patch14", help="on the hub, or a folder (default: %(default)s)"
    )
    parser.add_argument(
        "--weights_path",
        type=named_path,
        default=WEIGHTS,
        help="folder of the PCA, clip_pca.npz or clip_pca.pkl (default: %(default)s)",
    )
    add_flag(parser)
    args = parser.parse_args()

    from common.errors import UserError

    names = read_names(args.names)
    if args.out.suffix != ".npz":
        raise UserError(f"{args.out}: must end in .npz")
    outputs = Outputs("experts.build_class_tables", args.overwrite)
    outputs.check([args.out], sources=[args.names])

    import numpy as np
    import torch
    from accelerate import PartialState

    from common.files import write_atomically
    from dataset.class_tables import BACKGROUND_TABLE
    from experts.clip_text import ClipText

    is_background = args.out.stem == BACKGROUND_TABLE
    if is_background and len(names) != 1:
        raise UserError(f"{args.names}: the table '{BACKGROUND_TABLE}' is of one name, found {len(names)}")
    embed = ClipText(args.clip, args.weights_path, PartialState(cpu=not torch.accelerator.is_available()).device)
    features = embed(names)
    arrays = {"features": features[0]} if is_background else {"labels": np.array(names), "features": features}

    def write(path: Path) -> None:
        with path.open("wb") as file:  # given a name, `np.savez` would change its suffix
            np.savez(file, **arrays)

    with outputs.writing(args.out):
        write_atomically(args.out, write)
    print(f"{args.out}: {len(names)} classes")


def read_names(path: Path) -> list[str]:
    """Reads class names from a JSON array of texts, or from a text file, one a line; empty lines are skipped.

    Raises:
        UserError: the file is missing, or not of that form.
    """
    from common.errors import UserError
    from dataset.image_list import read_json, read_text

    if path.suffix.lower() == ".json":
        names = read_json(path)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UserError(f"{path}: expected an array of texts")
    else:
        names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not names:
        raise UserError(f"{path}: it has no names")
    return names


if __name__ == "__main__":
    run(main)
