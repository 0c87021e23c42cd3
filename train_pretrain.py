"""Pre-trains Prismer on image-caption pairs: CC12M, CC3M+SBU, COCO and Visual Genome, read as one data set.

    python launch.py train_pretrain.py --exp_name prismer_base                     # from new weights
    python launch.py train_pretrain.py --exp_name prismer_base --from_checkpoint   # resumes
    python train_pretrain.py --exp_name prismer_nano --config configs/pretrain_nano.yaml

Writes `logging/pretrain_<exp_name>`, where the other tasks start from.
"""

import argparse

from common.cli import run as run_script
from helpers.training.flags import training_parser


def main() -> None:
    parser = training_parser(__doc__.splitlines()[0], config="configs/pretrain.yaml")
    train(parser.parse_args())


def train(args: argparse.Namespace) -> None:
    """Trains, evaluating after each epoch; or with `--evaluate` only evaluates."""
    # Imported here, so that --help and a mistyped flag are answered at once.
    from typing import Any

    from torch import Tensor

    from common.errors import UserError
    from common.yaml_config import read_config
    from dataset.captions import caption_dataset
    from dataset.pretraining import pretraining_dataset
    from dataset.transforms import PRE_TRAINING_SCALE
    from helpers.checkpoints.load import InferenceDefaults
    from helpers.evaluation.caption_evaluation import evaluate_captions
    from helpers.training.plan import plan_run
    from helpers.training.run import Run
    from helpers.training.settings import PretrainConfig
    from helpers.training.trainer import Task, train_or_evaluate
    from model.captioning import PrismerCaption

    # Every mistake is found here, before anything is started, loaded or written.
    config = read_config(args.config, PretrainConfig, changes=args.changes)
    if args.evaluate and config.test_dataset is None:
        raise UserError(f"{args.config}: --evaluate needs the key 'test_dataset'; set it to coco")
    plan = plan_run("pretrain", PrismerCaption, config, args)
    test_set, train_set = None, None
    if config.test_dataset is not None:
        data_path = config.source_path("coco")
        test_set = caption_dataset(config.test_dataset, "test", data_path, plan.image_config())
    if not args.evaluate:
        train_set = pretraining_dataset(
            {name: config.source_path(name) for name in config.dataset},
            plan.image_config(crop_scale=PRE_TRAINING_SCALE),
            prefix=config.prefix,
            captions_per_image=config.captions_per_image,
            weights=config.weights,
            samples_per_epoch=config.samples_per_epoch,
        )
    run = Run(plan, train_set, test_set)

    def loss(batch: dict[str, Any]) -> Tensor:
        return run.model(run.inputs(batch), batch["caption"], config.prefix, max_tokens=config.max_caption_tokens)

    def evaluate(name: str) -> dict[str, float]:
        """Zero-shot captioning: the model has seen such images, but is asked without fine-tuning."""
        if run.test_loader is None:
            return {}
        return evaluate_captions(run, run.test_loader, f"{config.test_dataset}_{name}", config.prefix)

    usage = InferenceDefaults(prefix=config.prefix, decoding=config.decoding)
    train_or_evaluate(run, Task(loss, evaluate, usage, score="CIDEr", lr_by_epoch=True))


if __name__ == "__main__":
    run_script(main)
