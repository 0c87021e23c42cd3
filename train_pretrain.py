"""Pre-trains Prismer on image-caption pairs: CC12M, CC3M+SBU, COCO and Visual Genome, read as one data set.

    python launch.py train_pretrain.py --exp_name prismer_base                     # from new weights
    python launch.py train_pretrain.py --exp_name prismer_base --from_checkpoint   # goes on
    python train_pretrain.py --exp_name prismer_nano --config configs/pretrain_nano.yaml

Writes `logging/pretrain_<exp_name>`, where the other tasks start from.
"""

import argparse

from common.cli import run, training_parser


def main() -> None:
    parser = training_parser(__doc__.splitlines()[0], config="configs/pretrain.yaml")
    train(parser.parse_args())


def train(args: argparse.Namespace) -> None:
    """Trains, evaluating after each epoch; or with `--evaluate` only evaluates."""
    # Imported here, so that --help and a mistyped flag are answered at once.
    from common.errors import UserError
    from common.yaml_config import read_config
    from dataset.captions import caption_dataset
    from dataset.pretraining import pretraining_dataset
    from dataset.transforms import PRE_TRAINING_SCALE
    from helpers.checkpoints.load import InferenceDefaults
    from helpers.evaluation.caption_evaluation import evaluate_captions
    from helpers.evaluation.prediction import warn_of_overlap
    from helpers.training.run import Session
    from helpers.training.settings import PretrainConfig
    from helpers.training.trainer import Training
    from model.captioning import PrismerCaption

    # What is to be done: every mistake in it is found here, before anything is loaded or written.
    config = read_config(args.config, PretrainConfig, changes=args.changes)
    session = Session("pretrain", PrismerCaption, config, args)
    test_loader = None
    if config.test_dataset is not None:
        visual, data_path = session.image_config(), config.source_path("coco")
        test_loader = session.test_loader(caption_dataset(config.test_dataset, "test", data_path, visual))
    elif args.evaluate:
        raise UserError(f"{args.config}: --evaluate needs the key 'test_dataset'; set it to coco")
    train_loader = None
    if not args.evaluate:
        paths = {name: config.source_path(name) for name in config.dataset}
        visual = session.image_config(crop_scale=PRE_TRAINING_SCALE)
        options = {
            "prefix": config.prefix,
            "captions_per_image": config.captions_per_image,
            "weights": config.weights,
            "samples_per_epoch": config.samples_per_epoch,
        }
        train_loader = session.train_loader(pretraining_dataset(paths, visual, **options))
    model = session.build()
    if args.dry_run:
        return

    def evaluate(name: str) -> dict[str, float] | None:
        """Zero-shot captioning: the model has seen such images, but is asked without fine-tuning."""
        if test_loader is None:
            return {}
        return evaluate_captions(session, test_loader, f"{config.test_dataset}_{name}", config.prefix)

    if train_loader is None:
        evaluate("test")
        return

    if session.is_main and test_loader is not None:
        warn_of_overlap(train_loader.dataset, test_loader.dataset)
    usage = InferenceDefaults(prefix=config.prefix, decoding=config.decoding)
    training = Training(session, train_loader, usage, score="CIDEr", lr_by_epoch=True)
    for epoch in training.epochs():
        for batch in training.batches():
            inputs = session.inputs(batch)
            with session.accelerator.autocast():
                limit = config.max_caption_tokens
                loss = model(inputs, batch["caption"], config.prefix, max_tokens=limit)  # ()
            training.step(loss)
        training.end_epoch(evaluate(f"epoch_{epoch + 1}"))
    training.finish()


if __name__ == "__main__":
    run(main)
