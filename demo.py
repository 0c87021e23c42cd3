"""Captions a folder of images, after running the experts on those that have no labels yet.

    python demo.py                                  # helpers/images, with the embedded prismer_nano
    python demo.py --exp_name prismer_base --images photos --labels photo_labels

Writes `<stem>.txt` beside each image, and the labels that demo_vis.py draws.
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
        "--exp_name", default="prismer_nano", help="a trained captioning model (default: %(default)s)"
    )
    parser.add_argument("--images", type=Path, help="folder of images (default: the config's)")
    parser.add_argument("--labels", type=Path, help="folder of their labels (default: the config's)")
    parser.add_argument("--config", type=Path, default=Path("configs/caption.yaml"))
    return demo(parser.parse_args())


def demo(args: argparse.Namespace) -> int:
    """Labels the images, captions them, writes and prints the captions."""
    # Imported here, so that --help and a mistyped flag are answered at once.
    import torch
    from accelerate.utils import send_to_device
    from torch.utils.data import DataLoader
    from tqdm import tqdm

    from dataset.captions import caption_dataset, demo_label_folder
    from dataset.collate import collate
    from dataset.files import write_text
    from dataset.samples import Visual
    from experts.runner import generate_labels
    from helpers.caption_evaluation import as_sentence
    from helpers.config import DemoConfig, read_config
    from helpers.experiments import find_experiment
    from helpers.models import load_model, prepare_inputs
    from helpers.processes import start_accelerator
    from model.captioning import PrismerCaption

    config = read_config(args.config, DemoConfig, "demo")
    images, labels = args.images or config.data_path, args.labels or config.label_path
    folder = find_experiment("caption", args.exp_name)
    accelerator = start_accelerator(None)
    loaded = load_model(PrismerCaption, folder)
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

    rows: list[tuple[str, str, float]] = []
    for batch in tqdm(DataLoader(dataset, config.batch_size, collate_fn=collate), desc="captions"):
        if batch is None:  # no image of it can be read
            continue
        experts = prepare(send_to_device(batch, accelerator.device))
        with torch.inference_mode(), accelerator.autocast():
            texts, scores = model.generate(experts, usage.prefix, **usage.decoding, return_scores=True)
        for image, text, score in zip(batch["image"], texts, scores, strict=True):
            caption = as_sentence(text)
            write_text((images / image).with_suffix(".txt"), caption + "\n")
            rows.append((image, caption, score))

    width = max((len(image) for image, _, _ in rows), default=0)
    print(f"{'image':<{width}}  score  caption")
    for image, caption, score in rows:
        print(f"{image:<{width}}  {score:5.2f}  {caption}")
    if dataset.skipped:
        print(f"skipped, not readable as images: {', '.join(dataset.skipped)}", file=sys.stderr)
    return UNREADABLE_IMAGES if dataset.skipped else 0


if __name__ == "__main__":
    run(main)
