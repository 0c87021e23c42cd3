"""Describes a checkpoint: its network, experts, resolution, parameters, precision, files and hashes.

python -m helpers.checkpoints.summary logging/caption_prismer_base
"""

import argparse
from pathlib import Path

from common.cli import named_path, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=named_path, help="a checkpoint's folder, or its weight file")
    for name, text in summary(parser.parse_args().checkpoint):
        print(f"{name:<12}{text}")


def summary(checkpoint: Path) -> list[tuple[str, str]]:
    """Pairs of a name and its value, a line each."""
    # Imported here, so that --help and a mistyped flag are answered at once.
    import hashlib
    from collections import Counter

    from helpers.checkpoints.load import restore_network, size_name
    from helpers.checkpoints.weight_files import find_weights, read_weights, weight_files

    path = find_weights(checkpoint)
    state = read_weights(path)
    precision: Counter[str] = Counter()
    for value in state.values():
        if value.is_floating_point():
            precision[str(value.dtype).removeprefix("torch.")] += value.numel()
    network, description = restore_network(state, path)
    config, usage = description.network, description.usage
    parameters = sum(parameter.numel() for parameter in network.parameters())
    lines = [
        ("model", size_name(config)),
        ("experts", ", ".join(config.experts) or "none (PrismerZ)"),
        ("resolution", f"images {config.image_resolution}, labels {config.label_resolution}"),
        ("parameters", f"{parameters / 1e6:.1f} M"),
        ("precision", ", ".join(name for name, _ in precision.most_common())),
        ("tokenizer", description.tokenizer),
        ("prefix", f'"{usage.prefix}"'),
    ]
    for file in weight_files(path):
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        lines += [("file", f"{file}, {file.stat().st_size / 1e6:.1f} MB"), ("sha256", digest)]
    return lines


if __name__ == "__main__":
    run(main)
