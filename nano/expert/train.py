"""Trains the nano experts on Scenes: `python -m nano.expert.train --data DIR --out nano/experts`.

DIR is what `python -m nano.scenes` writes; its training split is learned, its test split measured.
"""

import argparse
import os
import time
from dataclasses import asdict
from pathlib import Path

from common.cli import named_path, natural, positive, run, whole
from common.errors import UserError
from common.files import json_text, write_json
from common.overwrite import Outputs, add_flag


def main() -> None:
    """Runs the command."""
    args = _parser().parse_args()
    if not (args.data / "labels").is_dir():
        raise UserError(f"{args.data}: no labels here; write scenes with: python -m nano.scenes")
    outputs = Outputs("nano.expert.train", args.overwrite, "name another folder with --out")
    settings = args.seed, args.epochs, args.batch_size, args.learning_rate, args.precision
    with outputs.writing(*(args.out / name for name in ("model.safetensors", "config.json", "metrics.json"))):
        train(args.data, args.out, *settings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nano.expert.train", description=__doc__)
    parser.add_argument("--data", type=named_path, required=True, help="a folder of Scenes with exact labels")
    parser.add_argument("--out", type=named_path, required=True, help="where weights, config and scores go")
    parser.add_argument("--seed", type=whole, default=0)
    parser.add_argument("--epochs", type=natural, default=8)
    parser.add_argument("--batch_size", type=natural, default=16)
    parser.add_argument("--learning_rate", type=positive, default=3e-3, help="the schedule's maximum")
    parser.add_argument(
        "--precision", choices=["auto", "no", "bf16"], default="auto", help="auto: bf16 where the CPU has it"
    )
    add_flag(parser)
    return parser


def train(
    data: Path, out: Path, seed: int, epochs: int, batch_size: int, learning_rate: float, precision: str
) -> dict[str, float]:
    """Trains, saves, and measures on the test split; returns the scores."""
    import torch

    from common.progress import progress_bar
    from nano.expert import losses
    from nano.expert.network import NanoConfig, NanoNetwork
    from nano.expert.training_data import SceneTargets, find_words, load_targets, scene_images

    if precision == "auto":
        precision = "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "no"
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    images = scene_images(data, "train2014")
    words = find_words(data, images)
    config = NanoConfig(words=tuple(words))
    dataset = SceneTargets(data, images, config.words, config.side, config.instance_classes)
    targets = load_targets(dataset, workers=os.cpu_count() or 1)

    network = NanoNetwork(config).to(memory_format=torch.channels_last)
    network.word_features.copy_(torch.tensor(list(words.values())))
    optimizer = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=0.01)
    steps = epochs * (len(images) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, steps, pct_start=0.1)
    start = time.perf_counter()
    with progress_bar(total=steps, unit="step") as bar:
        for _ in range(epochs):
            order = torch.randperm(len(images), generator=generator)
            for chosen in order[: len(order) // batch_size * batch_size].split(batch_size):
                batch = losses.mirror({name: values[chosen] for name, values in targets.items()}, generator)
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                    maps = network(batch["images"])
                parts = losses.map_losses(maps, batch)
                parts["word"] = losses.word_loss(network, batch, generator)
                optimizer.zero_grad(set_to_none=True)
                losses.weighted_sum(parts).backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
                optimizer.step()
                schedule.step()
                bar.update()
                if bar.n % 50 == 0:
                    bar.set_postfix_str(" ".join(f"{name} {loss:.3f}" for name, loss in parts.items()))
    minutes = (time.perf_counter() - start) / 60
    save(network, out)
    scores = evaluate(data, out)
    record = {"scores": scores, "scenes": len(images), "seed": seed, "epochs": epochs}
    record |= {"batch_size": batch_size, "learning_rate": learning_rate, "precision": precision}
    record["minutes"] = round(minutes, 1)
    write_json(out / "metrics.json", record, indent=2)
    print(json_text(record, indent=2), end="")
    return scores


def save(network, out: Path) -> None:
    """Writes model.safetensors (half precision) and config.json."""
    from helpers.checkpoints.weight_files import write_weights

    weights = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in network.state_dict().items()
    }
    write_weights(out / "model.safetensors", weights)
    write_json(out / "config.json", asdict(network.config), indent=2)


def evaluate(data: Path, folder: Path) -> dict[str, float]:
    """The scores of saved weights on the test split of a Scenes folder."""
    import torch

    from dataset.images import read_image
    from experts.base import Target
    from nano.expert.backend import CHUNK, LABELS, NanoExpert, read_network
    from nano.expert.metrics import Scores
    from nano.expert.training_data import read_truth, scene_images

    network = read_network(folder)
    expert = NanoExpert(network, tuple(LABELS), torch.device("cpu"))
    scores = Scores(network.config.semantic_classes)
    images = scene_images(data, "val2014")
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK]
        raws = expert.predict([expert.prepare(read_image(image.path)) for image in chunk])
        for image, raw in zip(chunk, raws, strict=True):
            truth = read_truth(data / "labels", image.label)
            scores.add(expert.decode(raw, Target(truth.maps["depth"].shape)), truth)
    return scores.summary()


if __name__ == "__main__":
    run(main)
