"""Teaches a trained Prismer's encoder to carry on what signs say, before its decoder learns to tell it.

    python -m helpers.word_start nano/caption_prismer_nano logging/pretrain_prismer_nano \\
        --config configs/caption_nano.yaml

Captions alone do not teach it: a word is one token of many, and far from the label that has it. The text
expert's stem learns that there is a sign, and forgets which word is on it. So it starts anew, and learns
with the resampler from a loss close by: a linear map reads the word off the last latents. A second loss holds
the other latents where they were, so that the decoder still knows them. The linear map is thrown away.
"""

import argparse
import copy
import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from dataset.captions import caption_dataset
from dataset.collate import collate
from dataset.files import write_json
from dataset.loader import Loader
from dataset.outputs import Outputs, add_flag
from dataset.samples import Visual
from helpers.checkpoint import find_weights, read_weights, write_weights
from helpers.cli import named_path, natural, run, whole
from helpers.config import read_config
from helpers.models import DESCRIPTION, describe, prepare_inputs, restore_network
from helpers.task_configs import CaptionConfig
from model.encoder import ExpertEncoder
from model.errors import UserError
from model.inputs import PrepareInputs
from model.modalities import EMBEDDING_DIM

TEXT = "ocr_detection"
CARRIERS = 8  # latents, the last ones, that the word is read off
HOLD = 3.0  # weight of the loss that holds the other latents
LR, MAP_LR, WARMUP = 1.5e-3, 4.5e-3, 30  # of stem and resampler, of the linear map; steps
LOG_EVERY = 50


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=named_path, help="the folder of a trained model")
    parser.add_argument("target", type=named_path, help="where the new weights go")
    parser.add_argument(
        "--config", type=named_path, required=True, help="a caption config: images, labels, experts"
    )
    parser.add_argument("--target_dataset", default="coco", help="section of the config (default: coco)")
    parser.add_argument("--steps", type=natural, default=450, help="default: %(default)s")
    parser.add_argument("--batch_size", type=natural, default=16, help="default: %(default)s")
    parser.add_argument("--seed", type=whole, default=0)
    add_flag(parser)
    start(parser.parse_args())


def start(args: argparse.Namespace) -> None:
    """Reads the weights, teaches them and writes them.

    Raises:
        UserError: the model has no text expert, or the new weights would replace those it starts from.
    """
    config = read_config(args.config, CaptionConfig, args.target_dataset)
    weights = find_weights(args.source)
    if args.target.resolve() == weights.parent.resolve():
        raise UserError(f"{args.target}: holds the weights to start from; choose another folder")
    files = args.target / "model.safetensors", args.target / DESCRIPTION
    outputs = Outputs("helpers.word_start", args.overwrite, "choose another folder")
    outputs.check(files)
    network, known = restore_network(read_weights(weights), weights)
    experts = known.network.experts
    if TEXT not in experts:
        raise UserError(f"{weights}: has no expert '{TEXT}', so no words to carry on")
    visual = Visual(
        label_path=config.label_path,
        experts=experts,
        image_resolution=known.network.image_resolution,
        label_resolution=known.network.label_resolution,
        augment=False,
    )
    by_image = {"train_list": config.train_list, "captions_per_image": 2}
    data = caption_dataset(config.dataset, "train", config.data_path, visual, **by_image)
    torch.manual_seed(args.seed)
    loader = Loader(data, args.batch_size, shuffle=True, num_workers=config.num_workers, collate_fn=collate)
    teach(network.expert_encoder, prepare_inputs(experts, known.class_tables), loader, args.steps)
    description = describe(known.network, known.tokenizer, known.class_tables, known.usage)
    with outputs.writing(*files):
        write_weights(files[0], network.state_dict())
        write_json(files[1], description, indent=2)
    print(f"{files[0]}: its encoder carries words; now train it on captions")


def teach(
    encoder: ExpertEncoder, prepare: PrepareInputs, loader: Iterable[dict[str, Any] | None], steps: int
) -> None:
    """Trains the text expert's stem, from new weights, and the resampler of an encoder in place.

    Args:
        encoder: of a network with the text expert.
        prepare: makes its input of a batch.
        loader: batches; of each sample the first word counts, and samples without one are left out.
        steps: of the optimizer.

    Raises:
        UserError: the labels have no words.
    """
    stem, resampler = encoder.conv1[TEXT], encoder.resampler
    old = copy.deepcopy(encoder).eval()
    for layer in stem:
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    encoder.eval()
    stem.train()
    width = encoder.positional_embedding.shape[1]
    linear = nn.Linear(width, EMBEDDING_DIM)
    trained = [*stem.parameters(), *resampler.parameters()]
    groups = [{"params": trained, "top": LR}, {"params": linear.parameters(), "top": MAP_LR}]
    optimizer = torch.optim.AdamW(groups, lr=LR, weight_decay=0.01)
    known = torch.zeros(0, EMBEDDING_DIM)  # the embeddings of all words met so far, one a row
    for step, batch in zip(range(steps), _with_words(loader), strict=False):
        rise, fall = min((step + 1) / WARMUP, 1.0), (1 + math.cos(math.pi * step / steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = group["top"] * rise * fall
        words = batch["tables"][TEXT][:, 0]  # (b, 64)
        known = torch.cat([known, words]).unique(dim=0)
        experts = prepare(batch)
        latents = resampler(encoder.label_tokens(experts))  # (b, 64, d)
        with torch.no_grad():
            before = old.resampler(old.label_tokens(experts))
        read = linear(F.layer_norm(latents[:, -CARRIERS:], (width,)).mean(dim=1)) @ known.T  # (b, words)
        right = (words[:, None] == known).all(dim=-1).int().argmax(dim=1)
        moved = F.mse_loss(latents[:, :-CARRIERS], before[:, :-CARRIERS]) / before.var()
        loss = F.cross_entropy(read, right) + HOLD * moved
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % LOG_EVERY == 0:
            share = (read.argmax(dim=1) == right).float().mean()
            print(f"step {step + 1}: loss {loss:.3f}, words read {share:.0%}, others moved {moved:.3f}")


def _with_words(loader: Iterable[dict[str, Any] | None]) -> Iterator[dict[str, Any]]:
    """Batches without end, of the samples that have a word."""
    while True:
        found = False
        for batch in filter(None, loader):
            chosen = batch["tables"][TEXT].any(dim=-1)[:, 0]
            if chosen.any():
                found = True
                yield {
                    "rgb": batch["rgb"][chosen],
                    "labels": {name: label[chosen] for name, label in batch["labels"].items()},
                    "tables": {name: table[chosen] for name, table in batch["tables"].items()},
                }
        if not found:
            raise UserError(f"the labels of the expert '{TEXT}' have no words; label images with text")


if __name__ == "__main__":
    run(main)
