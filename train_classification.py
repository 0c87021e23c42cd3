"""Fine-tunes and evaluates Prismer on few-shot classification: class names are ranked as captions.

    python launch.py train_classification.py --exp_name prismer_base                # fine-tune
    python launch.py train_classification.py --exp_name prismer_base --from_checkpoint --evaluate
    python train_classification.py --exp_name prismer_nano --config configs/classification_nano.yaml

Starts from `logging/pretrain_<exp_name>`, or goes on from `logging/classification_<exp_name>`.
"""

import argparse

from common.cli import run, training_parser


def main() -> None:
    parser = training_parser(__doc__.splitlines()[0], config="configs/classification.yaml")
    train(parser.parse_args())


def train(args: argparse.Namespace) -> None:
    """Trains, evaluating every few epochs and after the last; or with `--evaluate` only evaluates."""
    # Imported here, so that --help and a mistyped flag are answered at once.
    from typing import Any

    from common.yaml_config import read_config
    from dataset.classification import classification_dataset
    from helpers.checkpoints.load import InferenceDefaults
    from helpers.evaluation.prediction import Results, Scores, conclude, predict_all, warn_of_overlap
    from helpers.training.run import Session
    from helpers.training.settings import ClassificationConfig
    from helpers.training.trainer import Training
    from model.captioning import PrismerCaption
    from model.inputs import Inputs

    # What is to be done: every mistake in it is found here, before anything is loaded or written.
    config = read_config(args.config, ClassificationConfig, changes=args.changes)
    session = Session("classification", PrismerCaption, config, args)
    test_set = classification_dataset("test", config.data_path, session.image_config())
    test_loader = session.test_loader(test_set)
    train_loader = None
    if not args.evaluate:
        options = {"prefix": config.prefix, "shots": config.shots}
        train_set = classification_dataset("train", config.data_path, session.image_config(), **options)
        train_loader = session.train_loader(train_set)
    model = session.build()
    if args.dry_run:
        return

    def classify(inputs: Inputs, batch: dict[str, Any]) -> list[dict[str, Any]]:
        """For each image its class and the five likeliest ones, best first."""
        ranking = session.prismer.rank(inputs, test_set.names, config.k_test, config.prefix)
        rows = zip(batch["image"], batch["class"], ranking.sorted(), strict=True)
        return [
            {"image": image, "class": number, "predicted": [i for i, _ in top[:5]], "score": top[0][1]}
            for image, number, top in rows
        ]

    def evaluate(name: str) -> dict[str, float]:
        """Classifies the test images, writes the outcome and prints its scores, on the main process."""
        rows = predict_all(session, test_loader, classify, "classify")
        if not session.is_main:
            return {}

        def score(results: Results) -> Scores:
            found = {
                f"top{count}": sum(row["class"] in row["predicted"][:count] for row in results) / len(results)
                for count in (1, 5)
            }
            table = "\n".join(f"{key} accuracy {value:.4f}" for key, value in found.items())
            return Scores(found, table, found)

        settings = {"shots": config.shots, "classes": len(test_set.names), "k_test": config.k_test}
        return conclude(session, name, rows, score, settings, "images")

    if train_loader is None:
        evaluate("imagenet_test")
        return

    if session.is_main:
        warn_of_overlap(train_set, test_set)
    training = Training(session, train_loader, InferenceDefaults(prefix=config.prefix), score="top1")
    for epoch in training.epochs():
        for batch in training.batches():
            inputs = session.inputs(batch)
            with session.accelerator.autocast():
                loss = model(inputs, batch["caption"], config.prefix)  # ()
            training.step(loss)
        due = training.last_epoch or (epoch + 1) % config.eval_every == 0
        training.end_epoch(evaluate(f"imagenet_epoch_{epoch + 1}") if due else None)
    training.finish()


if __name__ == "__main__":
    run(main)
