"""Fine-tunes and evaluates Prismer on image captioning: COCO, NoCaps, or images and a list of your own.

    python launch.py train_caption.py --exp_name prismer_base                          # fine-tune
    python launch.py train_caption.py --exp_name prismer_base --from_checkpoint --evaluate
    python train_caption.py --exp_name prismer_nano --config configs/caption_nano.yaml  # one device

Starts from `logging/pretrain_<exp_name>`, or goes on from `logging/caption_<exp_name>`.
"""

import argparse

from common.cli import run, training_parser


def main() -> None:
    parser = training_parser(__doc__.splitlines()[0], config="configs/caption.yaml")
    parser.add_argument("--target_dataset", default="coco", help="section of the config (default: coco)")
    train(parser.parse_args())


def train(args: argparse.Namespace) -> None:
    """Trains, evaluating after each epoch; or with `--evaluate` only evaluates."""
    # Imported here, so that --help and a mistyped flag are answered at once.
    from common.yaml_config import read_config
    from dataset.captions import CaptionDataset, caption_dataset
    from helpers.checkpoints.load import InferenceDefaults
    from helpers.evaluation.caption_evaluation import evaluate_captions
    from helpers.evaluation.prediction import warn_of_overlap
    from helpers.training.run import Session
    from helpers.training.settings import CaptionConfig
    from helpers.training.trainer import Training
    from model.captioning import PrismerCaption

    # What is to be done: every mistake in it is found here, before anything is loaded or written.
    config = read_config(args.config, CaptionConfig, args.target_dataset, changes=args.changes)
    session = Session("caption", PrismerCaption, config, args)

    def open_split(split: str) -> CaptionDataset:
        return caption_dataset(
            config.dataset,
            split,
            config.data_path,
            session.image_config(),
            prefix=config.prefix,
            train_list=config.train_list,
            test_list=config.test_list,
            captions_per_image=config.captions_per_image,
        )

    test_loader = session.test_loader(open_split("test"))
    train_loader = None if args.evaluate else session.train_loader(open_split("train"))
    model = session.build()
    if args.dry_run:
        return

    def evaluate(name: str) -> dict[str, float]:
        return evaluate_captions(session, test_loader, f"{args.target_dataset}_{name}", config.prefix)

    if train_loader is None:
        evaluate("test")
        return

    if session.is_main:
        warn_of_overlap(train_loader.dataset, test_loader.dataset)
    usage = InferenceDefaults(prefix=config.prefix, decoding=config.decoding)
    training = Training(session, train_loader, usage, score="CIDEr")
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
