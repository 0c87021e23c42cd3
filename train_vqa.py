"""Fine-tunes and evaluates Prismer on visual question answering: VQAv2, Visual Genome, or your own list.

    accelerate launch train_vqa.py --exp_name prismer_base                              # fine-tune
    accelerate launch train_vqa.py --exp_name prismer_base --from_checkpoint --evaluate
    python train_vqa.py --exp_name prismer_nano --config configs/vqa_nano.yaml          # one device

Starts from `logging/pretrain_<exp_name>`, or goes on from `logging/vqa_<exp_name>`.
"""

import argparse
from pathlib import Path

from helpers.cli import run, training_parser


def main() -> None:
    parser = training_parser(__doc__.splitlines()[0], config="configs/vqa.yaml")
    parser.add_argument("--answers", type=Path, help="rank only these: a JSON array, or a text file")
    parser.add_argument(
        "--save_ranking", action="store_true", help="write all scored answers, too: <results>_ranking.json"
    )
    train(parser.parse_args())


def train(args: argparse.Namespace) -> None:
    """Trains, evaluating after each epoch; or with `--evaluate` only evaluates."""
    # Imported here, so that --help and a mistyped flag are answered at once.
    from typing import Any

    from dataset.joined import JoinedDataset
    from dataset.questions import question_dataset, read_answers
    from dataset.text import MAX_WORDS
    from helpers.config import read_config
    from helpers.cut_texts import say_cut_texts
    from helpers.evaluation import predict_all, settings_line, warn_of_overlap, write_results
    from helpers.metrics.vqa import Reference, score_answers
    from helpers.models import Usage
    from helpers.session import Session
    from helpers.task_configs import VQAConfig
    from helpers.training import Training
    from model.errors import UserError
    from model.inputs import Experts
    from model.vqa import PrismerVQA

    # What is to be done: every mistake in it is found here, before anything is loaded or written.
    config = read_config(args.config, VQAConfig)
    rank = config.inference == "rank"
    if (args.answers or args.save_ranking) and not rank:
        flag = "--answers" if args.answers else "--save_ranking"
        raise UserError(f"{args.config}: key 'inference' is '{config.inference}'; {flag} needs 'rank'")
    answers = read_answers(args.answers or config.data_path / config.answer_list) if rank else []
    session = Session("vqa", PrismerVQA, config, args)
    lists = {"train_list": config.train_list, "test_list": config.test_list}
    # The original's answers depend on which questions share a batch, so `compat` keeps them apart.
    test_set = question_dataset(
        config.dataset[0], "test", config.data_path, session.visual(), by_image=not config.compat, **lists
    )
    test_loader = session.test_loader(test_set)
    train_loader, sources = None, []
    if not args.evaluate:
        options = lists | {"questions_per_image": config.questions_per_image}
        sources = [
            question_dataset(name, "train", config.data_path, session.visual(), **options)
            for name in config.dataset
        ]
        train_loader = session.train_loader(JoinedDataset(sources))
    for split, datasets in (("training", sources), ("test", [test_set])):
        if session.is_main and (long := sum(dataset.long_questions() for dataset in datasets)):
            print(f"{long} {split} questions have more than {MAX_WORDS} words: what is beyond is not read")
    model = session.build()

    def answer(experts: Experts, batch: dict[str, Any]) -> list[list[dict[str, Any]]]:
        """For each image a list of `{"question_id", "answer"}`, when ranked with all answers scored."""
        questions, counts = batch["question"], batch["count"]
        if rank:
            ranking = session.prismer.rank(experts, questions, answers, config.k_test, counts=counts)
            rows = [{"answer": answers[index]} for index in ranking.best.tolist()]
            for row, kept, scores in zip(rows, ranking.kept.tolist(), ranking.scores.tolist(), strict=True):
                best_first = sorted(zip(scores, kept, strict=True), reverse=True)
                row["ranking"] = {answers[index]: round(score, 4) for score, index in best_first}
        else:
            texts = session.prismer.generate(experts, questions, counts=counts, **config.decoding)
            rows = [{"answer": text} for text in texts]
        named = zip(batch["question_id"], rows, strict=True)
        flat = iter([{"question_id": name, **row} for name, row in named])
        return [[next(flat) for _ in range(count)] for count in counts]

    def evaluate(name: str) -> dict[str, float]:
        """Answers the test questions, writes the outcome and prints its scores, on the main process."""
        rows = [row for image in predict_all(session, test_loader, answer, "answer") for row in image]
        say_cut_texts(session, "test")
        if not session.is_main:
            return {}
        results = [{"question_id": row["question_id"], "answer": row["answer"]} for row in rows]
        settings = {"inference": config.inference, "image_resolution": config.image_resolution}
        if rank:
            settings |= {"answers": len(answers), "k_test": config.k_test}
        else:
            settings |= config.decoding
        record, scores = {"settings": settings}, None
        if references := test_set.references():
            # Without the images that could not be read; the loader has named them.
            answered = {row["question_id"] for row in results}
            known = {
                key: Reference(list(entry.references), entry.type)
                for key, entry in references.items()
                if key in answered
            }
            scores = score_answers(results, known)
            record |= {"accuracy": scores.accuracy, "by_type": scores.by_type}
        ranking = rows if args.save_ranking else None
        path = write_results(session.folder, name, results, config, record, ranking)
        print(f"\n{name}: {len(results)} answers in {path} ({settings_line(settings)})")
        print(scores.table() if scores else "the test list has no answers, so no scores", flush=True)
        return {"accuracy": scores.accuracy} if scores else {}

    if train_loader is None:
        evaluate("vqa_test")
        return

    if session.is_main:
        warn_of_overlap(train_loader.dataset, test_set)
    usage = Usage(prefix="", answers=answers, k=config.k_test, answering=config.decoding)
    training = Training(session, train_loader, usage, score="accuracy", lr_by_epoch=True)
    for epoch in training.epochs():
        for batch in training.batches():
            experts = session.inputs(batch)
            with session.accelerator.autocast():
                weights = session.to_device(batch["weight"])
                loss = model(experts, batch["question"], batch["answer"], weights)  # ()
            training.step(loss)
        training.end_epoch(evaluate(f"vqa_epoch_{epoch + 1}"))
    training.finish()


if __name__ == "__main__":
    run(main)
