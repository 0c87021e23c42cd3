"""Fine-tunes and evaluates Prismer on few-shot classification: class names are ranked as captions.

    python launch.py train_classification.py --exp_name prismer_base                # fine-tune
    python launch.py train_classification.py --exp_name prismer_base --from_checkpoint --evaluate
    python train_classification.py --exp_name prismer_nano --config configs/classification_nano.yaml

Starts from `logging/pretrain_<exp_name>`, or resumes `logging/classification_<exp_name>`.
"""

import argparse

from common.cli import run as run_script
from helpers.training.flags import training_parser


def main() -> None:
    parser = training_parser(__doc__.splitlines()[0], config="configs/classification.yaml")
    train(parser.parse_args())


def train(args: argparse.Namespace) -> None:
    """Trains, evaluating every few epochs and after the last; or with `--evaluate` only evaluates."""
    # Imported here, so that --help and a mistyped flag are answered at once.
    from typing import Any

    from torch import Tensor

    from common.yaml_config import read_config
    from dataset.classification import classification_dataset
    from helpers.checkpoints.load import InferenceDefaults
    from helpers.evaluation.prediction import Results, Scores, predict_all, report_results
    from helpers.training.plan import plan_run
    from helpers.training.run import Run
    from helpers.training.settings import ClassificationConfig
    from helpers.training.trainer import Task, train_or_evaluate
    from model.captioning import PrismerCaption
    from model.inputs import Inputs

    # Every mistake is found here, before anything is started, loaded or written.
    config = read_config(args.config, ClassificationConfig, changes=args.changes)
    plan = plan_run("classification", PrismerCaption, config, args)
    test_set, train_set = classification_dataset("test", config.data_path, plan.image_config()), None
    if not args.evaluate:
        options = {"prefix": config.prefix, "shots": config.shots}
        train_set = classification_dataset("train", config.data_path, plan.image_config(), **options)
    run = Run(plan, train_set, test_set)

    def loss(batch: dict[str, Any]) -> Tensor:
        return run.model(run.inputs(batch), batch["caption"], config.prefix)

    def classify(inputs: Inputs, batch: dict[str, Any]) -> Results:
        """For each image its class and the five likeliest ones, best first."""
        ranking = run.prismer.rank(inputs, test_set.names, config.k_test, config.prefix)
        rows = zip(batch["image"], batch["class"], ranking.sorted(), strict=True)
        return [
            {"image": image, "class": number, "predicted": [i for i, _ in top[:5]], "score": top[0][1]}
            for image, number, top in rows
        ]

    def score(results: Results) -> Scores:
        found = {
            f"top{count}": sum(row["class"] in row["predicted"][:count] for row in results) / len(results)
            for count in (1, 5)
        }
        table = "\n".join(f"{key} accuracy {value:.4f}" for key, value in found.items())
        return Scores(found, table, found)

    def evaluate(name: str) -> dict[str, float]:
        """Classifies the test images, writes the outcome and prints its scores, on the main process."""
        rows = predict_all(run, run.test_loader, classify, "classify")
        if not run.is_main:
            return {}
        settings = {"shots": config.shots, "classes": len(test_set.names), "k_test": config.k_test}
        return report_results(run, f"imagenet_{name}", rows, score, settings, "images")

    usage = InferenceDefaults(prefix=config.prefix)
    train_or_evaluate(run, Task(loss, evaluate, usage, score="top1", evaluate_every=config.eval_every))


if __name__ == "__main__":
    run_script(main)
