"""Captions a folder of images, or answers a question about each; runs the experts on images without labels.

    python demo.py                                            # helpers/images, with the embedded prismer_nano
    python demo.py --question "How many red cubes are there?"
    python demo.py --exp_name prismer_base --images photos --labels photo_labels
    python demo.py --experts depth,edge --attribution         # with these alone, and the attribution of each word
    python demo.py --json | jq .                              # nothing but JSON on stdout

Captions go to `<stem>.txt` beside each image, or into the JSON; labels and attribution go to their folders,
from which demo_vis.py draws them. All flags: docs/demo.md.
"""

import argparse
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.cli import UNREADABLE_IMAGES, add_output_dir, named_path, names, natural, printable, run, saying
from common.overwrite import Outputs, add_flag

STDOUT = Path("-")
LONGEST = 48  # columns of a name in the table; longer names do not line up


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--exp_name", default="prismer_nano", help="a trained model of the task, or its folder (default: %(default)s)"
    )
    add_output_dir(parser)
    parser.add_argument("--images", type=named_path, help="folder of images (default: the config's)")
    parser.add_argument("--labels", type=named_path, help="folder of their labels (default: the config's)")
    parser.add_argument("--question", type=saying, help="answer this about each image instead of captioning it")
    parser.add_argument(
        "--experts", type=names, help="the model's experts, separated by commas, or none (default: all it has)"
    )
    parser.add_argument("--beams", type=natural, help="beams of the search (default: the model's)")
    parser.add_argument("--max_length", type=natural, help="most tokens of a caption with its prefix, or of an answer")
    parser.add_argument("--batch_size", type=natural, help="images at once (default: the config's)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: the fastest there is)")
    parser.add_argument(
        "--json",
        type=named_path,
        nargs="?",
        const=STDOUT,
        metavar="FILE",
        help="write JSON to a file, or without one to stdout, instead of a text file beside each image",
    )
    parser.add_argument(
        "--attribution",
        type=named_path,
        nargs="?",
        const=Path("helpers/attribution"),
        metavar="FOLDER",
        help="write the attribution of the texts into a folder (default: %(const)s)",
    )
    parser.add_argument(
        "--config",
        type=named_path,
        default=Path("configs/caption.yaml"),
        help="YAML file with a section 'demo' (default: %(default)s)",
    )
    add_flag(parser)
    return demo(parser.parse_args())


def demo(args: argparse.Namespace) -> int:
    """Labels the images, captions them or answers the question, and writes and prints the texts."""
    outputs = Outputs("demo.py", args.overwrite, "write JSON with --json and another name")
    if args.json not in (None, STDOUT):
        outputs.check([args.json])
    # Imported here, so that --help and a mistyped flag are answered at once.
    from common.files import json_text, write_json, write_text
    from common.progress import progress_bar
    from common.yaml_config import read_config
    from dataset.captions import caption_dataset, demo_label_folder
    from dataset.images import turned_when_shown
    from dataset.label_coverage import label_coverage
    from dataset.text import clean_question, is_long_question
    from experts.dataset_images import images_to_label
    from experts.image_hashes import ImageHashes
    from experts.preflight import check_usable, unavailable, unusable
    from experts.runner import WEIGHTS, generate_labels
    from helpers.checkpoints.experiments import find_model
    from helpers.inference.attribution_file import AttributedText, attribution_file, write_attribution
    from helpers.inference.captioner import Answerer, Captioner
    from helpers.training.distribution.processes import use_device
    from helpers.training.settings import DemoConfig

    config = read_config(args.config, DemoConfig, "demo")
    images, labels = args.images or config.data_path, args.labels or config.label_path
    batch_size = args.batch_size or config.batch_size
    question = None if args.question is None else clean_question(args.question)
    kind, task = ("caption", "caption") if question is None else ("answer", "vqa")
    folder = find_model(task, args.exp_name, args.output_dir)
    label_folder = demo_label_folder(images)
    listed = images_to_label(images, prefix=label_folder, leave_out=labels)
    writes_captions = kind == "caption" and args.json is None
    if writes_captions:
        outputs.check(Path(image.path).with_suffix(".txt") for image in listed)
    if args.attribution is not None:
        outputs.check(attribution_file(args.attribution, image.label) for image in listed)
    if args.device:
        use_device(args.device)

    print(f"loading {folder}", file=sys.stderr)
    model = (Captioner if kind == "caption" else Answerer).from_pretrained(folder, backends=config.backends)
    if model.limits and args.images:
        print(model.limits, file=sys.stderr)
    experts = model.experts(args.experts)
    changes = decoding(args, model.usage.decoding, kind)
    model.check_decoding(**changes)
    hashes = ImageHashes(listed, labels)
    if hashes.changed:
        reasons = unusable(experts, model.known_backends, WEIGHTS)
    else:
        reasons = unavailable(listed, experts, model.known_backends, labels, WEIGHTS)
    check_usable(experts, reasons)
    # An expert without a network has its labels already.
    backends = {name: model.known_backends[name] for name in experts if name in model.known_backends}
    lost = 0
    if backends:
        hashes.update()
        if hashes.changed:
            names = ", ".join(printable(image.path) for image in hashes.changed)
            print(f"labelled anew, since their labels are those of other images: {names}", file=sys.stderr)
        report = generate_labels(images, labels, backends, prefix=label_folder, batch_size=batch_size)
        lost = len(report.skipped)
        for note in report.notes:
            print(note, file=sys.stderr)

    dataset = caption_dataset("demo", "test", images, model.image_config(labels, experts))
    if experts and lost < len(dataset):
        print(label_coverage(dataset), file=sys.stderr)
    settings = {"attribution": args.attribution is not None, **changes}
    if kind == "caption":
        predictions = model.captions(dataset, batch_size, **settings)
    else:
        predictions = model.answers(dataset, [question] * len(dataset), batch_size, **settings)
    rows = []
    for image, found in progress_bar(predictions, desc=f"{kind}s", total=len(dataset), unit="image"):
        if writes_captions:
            path = (images / image).with_suffix(".txt")
            with outputs.writing(path):
                write_text(path, found.text + "\n")
        if found.attribution is not None:
            path = attribution_file(args.attribution, dataset.folder.label_key(image))
            with outputs.writing(path):
                write_attribution(path, AttributedText(found.text, question, found.attribution))
        rows.append({"image": image, kind: found.text, "score": found.score})
        if found.ranked:
            rows[-1]["ranked"] = dict(found.ranked)

    record = {"model": args.exp_name, "weights": str(folder), "experts": experts, "question": question}
    record |= {"images": rows, "skipped": dataset.skipped}
    if args.json == STDOUT:
        print(json_text(record, indent=2), end="")
    else:
        if args.json is not None:
            with outputs.writing(args.json):
                write_json(args.json, record, indent=2)
        print_table(rows, kind, question)
    if args.attribution is not None and rows:
        print(f"attribution: {args.attribution / label_folder}", file=sys.stderr)
    if turned := [printable(row["image"]) for row in rows if turned_when_shown(images / row["image"])]:
        print(
            f"seen as stored, on their side: {', '.join(turned)}; viewers turn them by their EXIF tag, "
            "models do not: rotate the pixels",
            file=sys.stderr,
        )
    if question is not None and (is_long_question(args.question) or model.model.cut_texts.cut):
        print(f"the question is too long; the model reads its beginning: {question}", file=sys.stderr)
    if dataset.skipped:
        skipped = ", ".join(map(printable, dataset.skipped))
        print(f"skipped, not readable as images or not labelled: {skipped}", file=sys.stderr)
    return UNREADABLE_IMAGES if dataset.skipped else 0


def decoding(args: argparse.Namespace, usual: dict[str, int], kind: str) -> dict[str, int]:
    """The flags as options of the beam search, for captions or for answers."""
    changes = {} if args.beams is None else {"num_beams": args.beams}
    if args.max_length is not None and kind == "caption":
        changes |= {"max_length": args.max_length, "min_length": min(usual["min_length"], args.max_length)}
    elif args.max_length is not None:
        changes |= {"max_new": args.max_length}
    return changes


def print_table(rows: Sequence[dict[str, Any]], kind: str, question: str | None) -> None:
    """Prints the captions or the answers with their scores."""
    shown = [printable(row["image"]) for row in rows]
    width = min(max(map(columns, ["image", *shown])), LONGEST)
    print(f"{'image':<{width}}  score  {question or kind}")
    for name, row in zip(shown, rows, strict=True):
        print(f"{name}{' ' * (width - columns(name))}  {row['score']:5.2f}  {row[kind]}")


def columns(text: str) -> int:
    """The width of a text in a terminal: a Chinese letter has two columns, an accent none."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


if __name__ == "__main__":
    run(main)
