"""Trains the nano experts on Scenes: `python -m nano.expert.train --data DIR --out nano/experts`.

`python -m nano.scenes` writes DIR. The experts learn from its training split and are scored on its test split.
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
    parser = argparse.ArgumentParser(prog="python -m nano.expert.train", description=__doc__)
    parser.add_argument("--data", type=named_path, required=True, help="a folder of Scenes with exact labels")
    parser.add_argument("--out", type=named_path, required=True, help="folder for weights, config and scores")
    parser.add_argument("--seed", type=whole, default=0, help="of weights and batches (default: %(default)s)")
    parser.add_argument("--epochs", type=natural, default=8, help="default: %(default)s")
    parser.add_argument("--batch_size", type=natural, default=16, help="scenes (default: %(default)s)")
    parser.add_argument("--learning_rate", type=positive, default=3e-3, help="the schedule's maximum")
    parser.add_argument(
        "--precision", choices=["auto", "no", "bf16"], default="auto", help="auto: bf16 where the CPU has it"
    )
    add_flag(parser)
    args = parser.parse_args()
    if not (args.data / "labels").is_dir():
        raise UserError(f"{args.data}: no labels here; write scenes with: python -m nano.scenes")
    outputs = Outputs("nano.expert.train", args.overwrite, "name another folder with --out")
    with outputs.writing(*(args.out / name for name in ("model.safetensors", "config.json", "metrics.json"))):
        train(args)


def train(args: argparse.Namespace) -> None:
    """Trains, saves the weights in half precision, scores them on the test split, and prints the scores."""
    import torch

    from common.progress import progress_bar
    from helpers.checkpoints.weight_files import write_weights
    from nano.expert import losses
    from nano.expert.network import NanoConfig, NanoNetwork
    from nano.expert.training_data import SceneTargets, find_words, load_targets, scene_images

    if args.precision == "auto":
        args.precision = "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "no"
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    images = scene_images(args.data, "train2014")
    steps = args.epochs * (len(images) // args.batch_size)
    if steps <= 10:  # fewer have no warm-up
        raise UserError(f"{args.data}: {len(images)} scenes make {steps} steps; write more, or train more epochs")
    words = find_words(args.data, images)
    config = NanoConfig(words=tuple(words))
    dataset = SceneTargets(args.data, images, config.words, config.side, config.instance_classes)
    targets = load_targets(dataset, workers=os.cpu_count() or 1)

    network = NanoNetwork(config).to(memory_format=torch.channels_last)
    network.word_features.copy_(torch.tensor(list(words.values())))
    optimizer = torch.optim.AdamW(network.parameters(), args.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.learning_rate, steps, pct_start=0.1)
    start = time.perf_counter()
    with progress_bar(total=steps, unit="step") as bar:
        for _ in range(args.epochs):
            order = torch.randperm(len(images), generator=generator)
            for chosen in order[: len(order) // args.batch_size * args.batch_size].split(args.batch_size):
                batch = losses.mirror({name: values[chosen] for name, values in targets.items()}, generator)
                with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16"):
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

    state = network.state_dict()
    weights = {name: (x.half() if x.is_floating_point() else x).contiguous() for name, x in state.items()}
    write_weights(args.out / "model.safetensors", weights)
    write_json(args.out / "config.json", asdict(config), indent=2)
    settings = {name: getattr(args, name) for name in ("seed", "epochs", "batch_size", "learning_rate", "precision")}
    record = {"scores": evaluate(args.data, args.out), "scenes": len(images), **settings}
    record["minutes"] = round(minutes, 1)
    write_json(args.out / "metrics.json", record, indent=2)
    print(json_text(record, indent=2), end="")


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
