"""Writes an experiment's best weights in half precision, to be passed on.

    python -m helpers.export --exp_name prismer_nano --out nano/caption_prismer_nano

Matrices become float16; norms, biases and statistics stay float32. The keys are the released ones.
"""

import argparse
import shutil
from pathlib import Path

from helpers.cli import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exp_name", required=True)
    parser.add_argument("--task", default="caption", help="default: %(default)s")
    parser.add_argument("--out", type=Path, required=True, help="folder for model.safetensors and model.json")
    args = parser.parse_args()

    import torch

    from helpers.checkpoint import find_weights, read_weights, write_weights
    from helpers.experiments import experiment_folder
    from helpers.models import DESCRIPTION
    from model.errors import UserError

    folder = experiment_folder(args.task, args.exp_name)
    state = read_weights(find_weights(folder))
    if not (folder / DESCRIPTION).is_file():
        raise UserError(f"{folder / DESCRIPTION}: missing; only experiments trained here can be exported")
    write_weights(args.out / "model.safetensors", state, dtype=torch.float16)
    shutil.copyfile(folder / DESCRIPTION, args.out / DESCRIPTION)
    size = (args.out / "model.safetensors").stat().st_size
    print(f"{args.out}: {sum(value.numel() for value in state.values()):,} numbers, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    run(main)
