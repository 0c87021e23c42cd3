"""Scenes with all their captions and questions as tensors, which training reads over and over."""

from functools import cache

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from common.errors import UserError
from common.progress import progress_bar
from dataset.captions import CaptionDataset
from dataset.loader import Loader, collate
from dataset.questions import QuestionDataset
from model.prismer import Prismer

AT_ONCE = 64  # images that a worker reads


def read_images(dataset: CaptionDataset, workers: int) -> dict:
    """All images of a data set with their labels and tables, in its order, as one batch of `collate`."""
    loader = Loader(dataset, AT_ONCE, num_workers=workers, collate_fn=collate)
    batches = list(progress_bar(loader, desc="reading"))
    names, tabled = batches[0]["labels"], batches[0]["tables"]
    return {
        "rgb": torch.cat([batch["rgb"] for batch in batches]),
        "labels": {name: torch.cat([batch["labels"][name] for batch in batches]) for name in names},
        "tables": {name: _joined([batch["tables"][name] for batch in batches]) for name in tabled},
    }


def _joined(tables: list[Tensor]) -> Tensor:
    """Tables (b, m, ...) of different m, padded and concatenated: classes with -1, words with zeros."""
    padding = 0 if tables[0].is_floating_point() else -1
    return pad_sequence([row for table in tables for row in table], batch_first=True, padding_value=padding)


def read_texts(model: Prismer, captions: CaptionDataset, questions: QuestionDataset, prefix: str) -> dict[str, Tensor]:
    """Captions and questions with answers, in the tokens in which the tasks of both learn them.

    Args:
        model: knows its tokens, and how questions begin and answers end.
        captions: a sample has all captions of its image.
        questions: of the same images.
        prefix: of the captions; it is not learned.

    Returns:
        For n images with k texts each: `ids` int64 (n, k, l), padded at the end; `starts` int64 (n, k), the
        first token of each text that is learned; `ends` int64 (n, k), the length of each text.

    Raises:
        UserError: the lists are of different images.
    """
    if list(captions.images) != list(questions.images):
        raise UserError("the lists of captions and of questions are not of the same images")

    @cache  # many questions and answers are the same
    def tokens(text: str, special: bool) -> list[int]:
        return model.tokenizer(text, add_special_tokens=special).input_ids

    texts, starts = [], []
    first = len(tokens(prefix, True)) - 1
    for index in range(len(captions)):
        for caption in captions.text(index)["caption"]:
            texts.append(tokens(caption, True))
            starts.append(first)
        sample = questions.text(index)
        for question, answer in zip(model.starts(sample["question"]), model.ends(sample["answer"]), strict=True):
            asked = tokens(question, False)
            texts.append(asked + tokens(f" {answer}{model.tokenizer.eos_token}", False))
            starts.append(len(asked))
    ends = [len(text) for text in texts]
    length = -(-max(ends) // 8) * 8  # attention on a GPU is fastest at multiples of 8
    ids = torch.full((len(texts), length), model.config.text.pad_id)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    numbers = {"ids": ids, "starts": torch.tensor(starts), "ends": torch.tensor(ends)}
    return {name: values.unflatten(0, (len(captions), -1)) for name, values in numbers.items()}


def shifted(batch: dict, most: int) -> dict:
    """Moves each image and its labels by up to `most` pixels of the image; edges are repeated."""
    rgb = batch["rgb"]
    count, side, device = len(rgb), rgb.shape[-1], rgb.device
    offsets = torch.randint(-most, most + 1, (2, count, 1), device=device)
    each = torch.arange(count, device=device)[:, None, None]

    def move(x: Tensor) -> Tensor:
        """(b, c, l, l) -> the same."""
        length = x.shape[-1]
        places = torch.arange(length, device=device) + offsets * length // side
        rows, columns = places.clamp(0, length - 1)  # (b, l)
        return x[each, :, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)

    labels = {name: move(label) for name, label in batch["labels"].items()}
    return batch | {"rgb": move(rgb), "labels": labels}
