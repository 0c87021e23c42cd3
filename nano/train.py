"""Trains the miniature: captions and answers at once, from new weights.

    python -m nano.train --caption configs/caption_nano.yaml --vqa configs/vqa_nano.yaml --exp_name make_nano

An image is encoded once for several of its captions and questions, and all images are in the device's memory.
One network learns both tasks, and both get its last weights: logging/caption_<exp_name> and
logging/vqa_<exp_name>. No validation data chooses the weights.

Captions alone do not teach the network to read signs: the word is one token of many, and far from its label.
Where there is a text expert, a second loss makes the encoder's last tokens carry the word: a linear map
predicts it from them. The map is discarded after the training.
"""

import argparse
import math
import time

from common.cli import experiment, named_path, natural, positive, run, whole
from common.overwrite import Outputs, add_flag


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--caption", type=named_path, required=True, help="config: images, labels, captions")
    parser.add_argument("--vqa", type=named_path, required=True, help="config: questions and answers")
    parser.add_argument("--exp_name", type=experiment, required=True, help="names the folders of the weights")
    parser.add_argument("--steps", type=natural, default=12000, help="of the training (default: %(default)s)")
    parser.add_argument("--minutes", type=positive, help="end after this time, with fewer steps if need be")
    parser.add_argument("--batch_size", type=natural, default=64, help="images (default: %(default)s)")
    parser.add_argument(
        "--texts", type=natural, default=8, help="texts of an image in a step, of all 15 (default: %(default)s)"
    )
    parser.add_argument("--lr", type=positive, default=1.5e-3, help="highest learning rate (default: %(default)s)")
    parser.add_argument("--workers", type=whole, default=2, help="processes that read images (default: %(default)s)")
    parser.add_argument("--seed", type=whole, default=0, help="of weights and batches (default: %(default)s)")
    parser.add_argument("--eager", action="store_true", help="run steps on a GPU without a CUDA graph")
    add_flag(parser)
    train(parser.parse_args())


def train(args: argparse.Namespace) -> None:
    """Reads the data, trains, writes the weights."""
    deadline = time.monotonic() + 60 * (args.minutes or math.inf)
    # Imported here, so that --help and a mistyped flag are answered at once.
    import torch

    from common.files import write_json
    from common.yaml_config import read_config
    from dataset.captions import caption_dataset
    from dataset.label_manifest import read_backends
    from dataset.questions import question_dataset, read_answers
    from dataset.samples import ImageConfig
    from helpers.checkpoints.experiments import experiment_folder
    from helpers.checkpoints.load import DESCRIPTION, InferenceDefaults, build_model, describe, prepare_inputs
    from helpers.checkpoints.weight_files import write_weights
    from helpers.training.settings import CaptionConfig, VQAConfig, prismer_config
    from model.sizes import read_model_size
    from model.vqa import PrismerVQA
    from nano.multi_task import CAPTIONS, QUESTIONS, fit
    from nano.scenes_in_memory import read_images, read_texts

    config = read_config(args.caption, CaptionConfig, "coco")
    vqa = read_config(args.vqa, VQAConfig)
    folders = [experiment_folder(task, args.exp_name) for task in ("caption", "vqa")]
    files = [folder / name for folder in folders for name in ("model.safetensors", DESCRIPTION)]
    outputs = Outputs("nano.train", args.overwrite, "choose another --exp_name")
    outputs.check(files)
    size = read_model_size(config.prismer_model)
    network = prismer_config(config, size)
    visual = ImageConfig(
        label_path=config.label_path,
        experts=config.experts,
        image_resolution=config.image_resolution,
        label_resolution=config.label_resolution,
        augment=False,
    )
    captions = caption_dataset(
        config.dataset, "train", config.data_path, visual, prefix=config.prefix, captions_per_image=CAPTIONS
    )
    questions = question_dataset(vqa.dataset[0], "train", vqa.data_path, visual, questions_per_image=QUESTIONS)
    answers = read_answers(vqa.data_path / vqa.answer_list)
    torch.manual_seed(args.seed)
    model = build_model(PrismerVQA, network, size.tokenizer)
    scenes = read_images(captions, args.workers) | {"texts": read_texts(model, captions, questions, config.prefix)}

    fit(model, prepare_inputs(network.experts, config.class_tables), scenes, args, deadline)

    backends = read_backends(config.label_path, network.experts)
    usages = (
        InferenceDefaults(prefix=config.prefix, decoding=config.decoding, backends=backends),
        InferenceDefaults(prefix="", answers=answers, k=vqa.k_test, answering=vqa.decoding, backends=backends),
    )
    with outputs.writing(*files):
        for folder, usage in zip(folders, usages, strict=True):
            folder.mkdir(parents=True, exist_ok=True)
            write_weights(folder / "model.safetensors", model.state_dict())
            description = describe(network, size.tokenizer, config.class_tables, usage)
            write_json(folder / DESCRIPTION, description, indent=2)
    print(f"weights in {' and '.join(map(str, folders))}")


if __name__ == "__main__":
    run(main)
