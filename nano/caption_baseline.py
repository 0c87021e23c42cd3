"""How well one and the same caption for every image does: what a captioner that sees must beat.

    python -m nano.caption_baseline --train_list LIST.json --test_gt GT.json

The caption is the training caption that suits other training images best (by CIDEr); it is then scored on
the test images as a model's captions are.
"""

import argparse
import random
from collections.abc import Mapping, Sequence

from common.cli import named_path, run, whole
from common.errors import UserError

CANDIDATES = 500  # captions tried
IMAGES = 100  # training images they are tried on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train_list", type=named_path, required=True, help="list of images with captions")
    parser.add_argument("--test_gt", type=named_path, required=True, help="references in the COCO caption format")
    parser.add_argument("--seed", type=whole, default=0, help="draws captions and images (default: 0)")
    args = parser.parse_args()

    from dataset.ground_truth import read_ground_truth
    from dataset.image_list import captions_of, read_list
    from helpers.evaluation.caption_metrics import score_captions

    references = read_ground_truth(args.test_gt)
    train: dict[str, list[str]] = {}
    for row in read_list(args.train_list, ("caption",)):
        train.setdefault(row["image"], []).extend(captions_of(row))
    if len(train) < 4:  # of which half are to choose by, and CIDEr of one image is always 0
        raise UserError(f"{args.train_list}: has captions of {len(train)} images; a baseline needs 4")
    caption = best_constant_caption(train, args.seed)
    scores = score_captions([{"image_id": image, "caption": caption} for image in references], references)
    print(f"caption: {caption}")
    print(scores.table())


def best_constant_caption(train: Mapping[str, Sequence[str]], seed: int) -> str:
    """Of a sample of the captions, the one with the highest CIDEr on a sample of the other images.

    Args:
        train: captions of each training image; of four images at least.
        seed: of both samples.
    """
    from pycocoevalcap.cider.cider import Cider

    from helpers.evaluation.ptb_tokenizer import tokenize_python  # to choose, near is good enough

    images = list(train)
    random.Random(seed).shuffle(images)
    count = min(IMAGES, len(images) // 2)
    gts = {image: tokenize_python(train[image]) for image in images[:count]}
    # A caption would win on its own image, of which it is a reference: candidates are of the others.
    candidates = dict.fromkeys(caption for image in images[count:] for caption in train[image])
    candidates = random.Random(seed).sample(list(candidates), min(CANDIDATES, len(candidates)))
    scores = []
    for tokens in tokenize_python(candidates):
        scores.append(Cider().compute_score(gts, {image: [tokens] for image in gts})[0])
    return candidates[scores.index(max(scores))]


if __name__ == "__main__":
    run(main)
