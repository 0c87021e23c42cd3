"""Captions a folder of images, or answers a question about each, after running the experts on new ones.

    python demo.py                                            # helpers/images, with the embedded prismer_nano
    python demo.py --question "How many red cubes are there?"
    python demo.py --exp_name prismer_base --images photos --labels photo_labels

Writes captions to `<stem>.txt` beside each image, and the labels that demo_vis.py draws.
"""

import argparse
import sys
from pathlib import Path

from helpers.cli import UNREADABLE_IMAGES, run


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--exp_name", default="prismer_nano", help="a trained model of the task (default: %(default)s)"
    )
    parser.add_argument("--images", type=Path, help="folder of images (default: the config's)")
    parser.add_argument("--labels", type=Path, help="folder of their labels (default: the config's)")
    parser.add_argument("--question", help="answer this about each image, instead of captioning it")
    parser.add_argument("--config", type=Path, default=Path("configs/caption.yaml"))
    return demo(parser.parse_args())


def demo(args: argparse.Namespace) -> int:
    """Labels the images; captions them and writes the captions, or answers; prints all."""
    # Imported here, so that --help and a mistyped flag are answered at once.
    import torch
    from accelerate.utils import send_to_device
    from torch.utils.data import DataLoader
    from tqdm import tqdm

    from dataset.captions import caption_dataset, demo_label_folder
    from dataset.collate import collate
    from dataset.files import write_text
    from dataset.samples import Visual
    from dataset.text import clean_question
    from experts.runner import generate_labels
    from helpers.caption_evaluation import as_sentence
    from helpers.config import DemoConfig, read_config
    from helpers.experiments import find_experiment
    from helpers.models import load_model, prepare_inputs
    from helpers.processes import start_accelerator
    from model.captioning import PrismerCaption
    from model.vqa import PrismerVQA

    config = read_config(args.config, DemoConfig, "demo")
    images, labels = args.images or config.data_path, args.labels or config.label_path
    asked = args.question is not None
    folder = find_experiment("vqa" if asked else "caption", args.exp_name)
    accelerator = start_accelerator(None)
    loaded = load_model(PrismerVQA if asked else PrismerCaption, folder)
    model, network = loaded.model.to(accelerator.device), loaded.model.config
    usage = loaded.usage
    prepare = prepare_inputs(network.experts, loaded.class_tables).to(accelerator.device)

    # An expert without a backend in the config must have left its labels before.
    backends = {name: config.backends[name] for name in network.experts if name in config.backends}
    if backends:
        generate_labels(images, labels, backends, prefix=demo_label_folder(images))
    visual = Visual(
        label_path=labels,
        experts=network.experts,
        image_resolution=network.image_resolution,
        label_resolution=network.label_resolution,
        compat=network.compat,
    )
    dataset = caption_dataset("demo", "test", images, visual)

    def texts_and_scores(experts: dict, count: int) -> tuple[list[str], list[float]]:
        """A caption or an answer for each of `count` images, and its score."""
        if not asked:
            texts, scores = model.generate(experts, usage.prefix, **usage.decoding, return_scores=True)
            return [as_sentence(text) for text in texts], scores
        questions = [clean_question(args.question)] * count
        if not usage.answers:
            return model.generate(experts, questions, return_scores=True)
        ranking = model.rank(experts, questions, usage.answers, usage.k)
        return [usage.answers[index] for index in ranking.best.tolist()], ranking.scores.amax(dim=1).tolist()

    rows: list[tuple[str, str, float]] = []
    for batch in tqdm(
        DataLoader(dataset, config.batch_size, collate_fn=collate), desc="answers" if asked else "captions"
    ):
        if batch is None:  # no image of it can be read
            continue
        experts = prepare(send_to_device(batch, accelerator.device))
        with torch.inference_mode(), accelerator.autocast():
            texts, scores = texts_and_scores(experts, len(batch["image"]))
        for image, text, score in zip(batch["image"], texts, scores, strict=True):
            if not asked:
                write_text((images / image).with_suffix(".txt"), text + "\n")
            rows.append((image, text, score))

    width = max((len(image) for image, _, _ in rows), default=0)
    print(f"{'image':<{width}}  score  {clean_question(args.question) if asked else 'caption'}")
    for image, text, score in rows:
        print(f"{image:<{width}}  {score:5.2f}  {text}")
    if dataset.skipped:
        print(f"skipped, not readable as images: {', '.join(dataset.skipped)}", file=sys.stderr)
    return UNREADABLE_IMAGES if dataset.skipped else 0


if __name__ == "__main__":
    run(main)
