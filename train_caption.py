"""Fine-tunes and evaluates Prismer on image captioning: COCO, NoCaps, or images and a list of your own.

    python launch.py train_caption.py --exp_name prismer_base                          # fine-tune
    python launch.py train_caption.py --exp_name prismer_base --from_checkpoint --evaluate
    python train_caption.py --exp_name prismer_nano --config configs/caption_nano.yaml  # one device

Starts from `logging/pretrain_<exp_name>`, or resumes `logging/caption_<exp_name>`.
"""

import argparse

from common.cli import run as run_script
from helpers.training.flags import training_parser


def main() -> None:
    parser = training_parser(__doc__.splitlines()[0], config="configs/caption.yaml")
    parser.add_argument("--target_dataset", default="coco", help="section of the config (default: coco)")
    train(parser.parse_args())


def train(args: argparse.Namespace) -> None:
    """Trains, evaluating after each epoch; or with `--evaluate` only evaluates."""
    # Imported here, so that --help and a mistyped flag are answered at once.
    from typing import Any

    from torch import Tensor

    from common.yaml_config import read_config
    from dataset.captions import CaptionDataset, caption_dataset
    from helpers.checkpoints.load import InferenceDefaults
    from helpers.evaluation.caption_evaluation import evaluate_captions
    from helpers.training.plan import plan_run
    from helpers.training.run import Run
    from helpers.training.settings import CaptionConfig
    from helpers.training.trainer import Task, train_or_evaluate
    from model.captioning import PrismerCaption

    # Every mistake is found here, before anything is started, loaded or written.
    config = read_config(args.config, CaptionConfig, args.target_dataset, changes=args.changes)
    plan = plan_run("caption", PrismerCaption, config, args)

    def open_split(split: str) -> CaptionDataset:
        return caption_dataset(
            config.dataset,
            split,
            config.data_path,
            plan.image_config(),
            prefix=config.prefix,
            train_list=config.train_list,
            test_list=config.test_list,
            captions_per_image=config.captions_per_image,
        )

    test_set = open_split("test")
    train_set = None if args.evaluate else open_split("train")
    run = Run(plan, train_set, test_set)

    def loss(batch: dict[str, Any]) -> Tensor:
        return run.model(run.inputs(batch), batch["caption"], config.prefix, max_tokens=config.max_caption_tokens)

    def evaluate(name: str) -> dict[str, float]:
        return evaluate_captions(run, run.test_loader, f"{args.target_dataset}_{name}", config.prefix)

    usage = InferenceDefaults(prefix=config.prefix, decoding=config.decoding)
    train_or_evaluate(run, Task(loss, evaluate, usage, score="CIDEr"))


if __name__ == "__main__":
    run_script(main)
