"""Writes a checkpoint in another format or precision: the original's pytorch_model.bin, or safetensors.

    python -m helpers.checkpoints.convert logging/caption_prismer_base logging/caption_mine/model.safetensors
    python -m helpers.checkpoints.convert logging/caption_mine original/pytorch_model.bin
    python -m helpers.checkpoints.convert --dtype float16 logging/caption_mine logging/half/model.safetensors

Both formats hold the released keys. In half precision norms, biases and statistics stay float32.
"""

import argparse
from pathlib import Path

from common.cli import named_path, run
from common.errors import UserError
from common.overwrite import Outputs, add_flag


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=named_path, help="a checkpoint's folder, or its weight file")
    parser.add_argument("target", type=named_path, help="a file .safetensors or .bin; model.json goes beside it")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    add_flag(parser)
    args = parser.parse_args()
    if args.target.suffix not in (".safetensors", ".bin"):
        raise UserError(f"{args.target}: name a file that ends with .safetensors or .bin")
    convert(args.source, args.target, args.dtype, args.overwrite)


def convert(source: Path, target: Path, dtype: str, overwrite: bool = False) -> None:
    """Reads a checkpoint into its network, which checks the keys, and writes it with its `model.json`.

    Args:
        source: its folder or weight file.
        target: the new weight file.
        dtype: of the matrices.
        overwrite: replace files that this did not write.

    Raises:
        UserError: the source is no checkpoint, or the target is not to be replaced.
    """
    # Imported here, so that --help and a mistyped flag are answered at once.
    import torch

    from common.files import json_text, write_text
    from helpers.checkpoints.load import DESCRIPTION, describe, restore_network
    from helpers.checkpoints.weight_files import find_weights, read_weights, weight_files, write_weights

    weights = find_weights(source)
    outputs = Outputs("helpers.checkpoints.convert", overwrite)
    outputs.check([target], sources=weight_files(weights))
    network, known = restore_network(read_weights(weights), weights)
    description = describe(known.network, known.tokenizer, known.class_tables, known.usage)
    text, beside = json_text(description, indent=2), target.with_name(DESCRIPTION)
    outputs.check([beside], known=lambda path: path.read_bytes() == text.encode())  # the source's own
    with outputs.writing(target, beside):
        write_weights(target, network.state_dict(), getattr(torch, dtype))
        write_text(beside, text)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, {dtype}")


if __name__ == "__main__":
    run(main)
