"""Writes a checkpoint in another format or precision: the original's pytorch_model.bin, or safetensors.

    python -m helpers.convert logging/caption_prismer_base logging/caption_mine/model.safetensors
    python -m helpers.convert logging/caption_mine original/pytorch_model.bin
    python -m helpers.convert logging/caption_prismer_nano nano/caption_prismer_nano/model.safetensors \\
        --dtype float16

The keys are the released ones either way. In half precision norms, biases and statistics stay float32.
"""

import argparse
import shutil
from pathlib import Path

from helpers.cli import run
from model.errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="a checkpoint's folder, or its weight file")
    parser.add_argument(
        "target", type=Path, help="a file .safetensors or .bin, beside which model.json is put"
    )
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    args = parser.parse_args()
    if args.target.suffix not in (".safetensors", ".bin"):
        raise UserError(f"{args.target}: name a file that ends with .safetensors or .bin")
    convert(args.source, args.target, args.dtype)


def convert(source: Path, target: Path, dtype: str) -> None:
    """Reads a checkpoint through its network, which says which keys there must be, and writes it."""
    # Imported here, so that --help and a mistyped flag are answered at once.
    import torch

    from helpers.checkpoint import find_weights, read_weights, write_weights
    from helpers.models import DESCRIPTION, restore_network

    weights = find_weights(source)
    network, _ = restore_network(read_weights(weights), weights)
    write_weights(target, network.state_dict(), getattr(torch, dtype))
    description = weights.with_name(DESCRIPTION)
    if description.is_file() and description.parent.resolve() != target.parent.resolve():
        shutil.copyfile(description, target.with_name(DESCRIPTION))
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, {dtype}")


if __name__ == "__main__":
    run(main)
