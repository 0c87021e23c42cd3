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
    from tqdm import tqdm

    from dataset.captions import caption_dataset, demo_label_folder
    from dataset.files import write_text
    from dataset.text import clean_question
    from experts.runner import generate_labels
    from helpers.config import DemoConfig, read_config
    from helpers.experiments import find_experiment
    from helpers.library import Answerer, Captioner

    config = read_config(args.config, DemoConfig, "demo")
    images, labels = args.images or config.data_path, args.labels or config.label_path
    asked = args.question is not None
    folder = find_experiment("vqa" if asked else "caption", args.exp_name)
    model = (Answerer if asked else Captioner).from_pretrained(folder)
    visual = model.visual(labels)

    # An expert without a backend in the config must have left its labels before.
    backends = {name: config.backends[name] for name in visual.experts if name in config.backends}
    if backends:
        generate_labels(images, labels, backends, prefix=demo_label_folder(images))
    dataset = caption_dataset("demo", "test", images, visual)
    if asked:
        predictions = model.answers(dataset, [args.question] * len(dataset), config.batch_size)
    else:
        predictions = model.captions(dataset, config.batch_size)

    rows: list[tuple[str, str, float]] = []
    for image, found in tqdm(predictions, desc="answers" if asked else "captions", total=len(dataset)):
        if not asked:
            write_text((images / image).with_suffix(".txt"), found.text + "\n")
        rows.append((image, found.text, found.score))

    width = max((len(image) for image, _, _ in rows), default=0)
    print(f"{'image':<{width}}  score  {clean_question(args.question) if asked else 'caption'}")
    for image, text, score in rows:
        print(f"{image:<{width}}  {score:5.2f}  {text}")
    if dataset.skipped:
        print(f"skipped, not readable as images: {', '.join(dataset.skipped)}", file=sys.stderr)
    return UNREADABLE_IMAGES if dataset.skipped else 0


if __name__ == "__main__":
    run(main)
