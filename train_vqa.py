"""Fine-tunes and evaluates Prismer on visual question answering: VQAv2, Visual Genome, or your own list.

    python launch.py train_vqa.py --exp_name prismer_base                              # fine-tune
    python launch.py train_vqa.py --exp_name prismer_base --from_checkpoint --evaluate
    python train_vqa.py --exp_name prismer_nano --config configs/vqa_nano.yaml          # one device

Starts from `logging/pretrain_<exp_name>`, or resumes `logging/vqa_<exp_name>`.
"""

import argparse

from common.cli import named_path
from common.cli import run as run_script
from helpers.training.flags import training_parser


def main() -> None:
    parser = training_parser(__doc__.splitlines()[0], config="configs/vqa.yaml")
    parser.add_argument("--answers", type=named_path, help="rank only these: a JSON array, or a text file")
    parser.add_argument(
        "--save_ranking", action="store_true", help="also write all scored answers, to <results>_ranking.json"
    )
    train(parser.parse_args())


def train(args: argparse.Namespace) -> None:
    """Trains, evaluating after each epoch; or with `--evaluate` only evaluates."""
    # Imported here, so that --help and a mistyped flag are answered at once.
    from itertools import islice
    from typing import Any

    from torch import Tensor

    from common.errors import UserError
    from common.yaml_config import read_config
    from dataset.concat import ConcatDataset
    from dataset.questions import question_dataset, read_answers
    from dataset.text import MAX_WORDS
    from helpers.checkpoints.load import InferenceDefaults
    from helpers.evaluation.prediction import Results, Scores, predict_all, report_results, say_cut_texts
    from helpers.evaluation.vqa_accuracy import score_answers
    from helpers.training.plan import plan_run
    from helpers.training.run import Run
    from helpers.training.settings import VQAConfig
    from helpers.training.trainer import Task, train_or_evaluate
    from model.inputs import Inputs
    from model.vqa import PrismerVQA

    # Every mistake is found here, before anything is started, loaded or written.
    config = read_config(args.config, VQAConfig, changes=args.changes)
    rank = config.inference == "rank"
    if (args.answers or args.save_ranking) and not rank:
        flag = "--answers" if args.answers else "--save_ranking"
        raise UserError(f"{args.config}: key 'inference' is '{config.inference}'; {flag} needs 'rank'")
    answers = read_answers(args.answers or config.data_path / config.answer_list) if rank else []
    plan = plan_run("vqa", PrismerVQA, config, args)
    lists = {"train_list": config.train_list, "test_list": config.test_list}
    # The original's answers depend on which questions share a batch, so `compat` keeps them apart.
    test_set = question_dataset(
        config.dataset[0], "test", config.data_path, plan.image_config(), by_image=not config.compat, **lists
    )
    sources = []
    if not args.evaluate:
        options = lists | {"questions_per_image": config.questions_per_image}
        sources = [
            question_dataset(name, "train", config.data_path, plan.image_config(), **options)
            for name in config.dataset
        ]
    run = Run(plan, ConcatDataset(sources) if sources else None, test_set)
    for split, datasets in (("training", sources), ("test", [test_set])):
        if run.is_main and (long := sum(dataset.long_questions() for dataset in datasets)):
            print(f"{long} {split} questions have more than {MAX_WORDS} words: the rest is not read")

    def loss(batch: dict[str, Any]) -> Tensor:
        return run.model(run.inputs(batch), batch["question"], batch["answer"], run.to_device(batch["weight"]))

    def answer(inputs: Inputs, batch: dict[str, Any]) -> list[Results]:
        """For each image a list of `{"question_id", "answer", "score"}`, perhaps with a `ranking`."""
        questions, counts = batch["question"], batch["count"]
        if rank:
            ranking = run.prismer.rank(inputs, questions, answers, config.k_test, counts=counts)
            best_first = ranking.sorted()
            rows = [{"answer": answers[top[0][0]], "score": top[0][1]} for top in best_first]
            if args.save_ranking:
                for row, top in zip(rows, best_first, strict=True):
                    row["ranking"] = {answers[index]: round(score, 4) for index, score in top}
        else:
            found = run.prismer.generate(inputs, questions, counts=counts, return_scores=True, **config.decoding)
            rows = [{"answer": text, "score": score} for text, score in zip(*found, strict=True)]
        named = [{"question_id": name, **row} for name, row in zip(batch["question_id"], rows, strict=True)]
        in_order = iter(named)
        return [list(islice(in_order, count)) for count in counts]

    def score(results: Results) -> Scores | None:
        references = test_set.references()
        if not references:
            return None
        # Without the images that could not be read; the loader has named them.
        found = score_answers(results, {row["question_id"]: references[row["question_id"]] for row in results})
        record = {"accuracy": found.accuracy, "by_type": found.by_type}
        return Scores({"accuracy": found.accuracy}, found.table(), record)

    def evaluate(name: str) -> dict[str, float]:
        """Answers the test questions, writes the outcome and prints its scores, on the main process."""
        rows = [row for image in predict_all(run, run.test_loader, answer, "answer") for row in image]
        say_cut_texts(run, "test")
        if not run.is_main:
            return {}
        how = {"answers": len(answers), "k_test": config.k_test} if rank else config.decoding
        settings = {"inference": config.inference, "image_resolution": config.image_resolution, **how}
        return report_results(run, f"vqa_{name}", rows, score, settings, "answers")

    usage = InferenceDefaults(prefix="", answers=answers, k=config.k_test, answering=config.decoding)
    train_or_evaluate(run, Task(loss, evaluate, usage, score="accuracy", lr_by_epoch=True))


if __name__ == "__main__":
    run_script(main)
