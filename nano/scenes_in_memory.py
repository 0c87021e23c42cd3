"""Scenes with all their captions and questions, in memory: training reads them over and over."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.errors import UserError
from common.progress import progress_bar
from dataset.captions import CaptionDataset
from dataset.collate import collate
from dataset.loader import Loader
from dataset.questions import QuestionDataset
from model.prismer import Prismer

AT_ONCE = 64  # images that a worker reads


@dataclass(frozen=True)
class Texts:
    """The texts of n images, k of each, padded behind to the longest: l tokens.

    Attributes:
        ids: int64 (n, k, l).
        starts: int64 (n, k), the first token of each that is to be learned.
        ends: int64 (n, k), one behind its last.
    """

    ids: Tensor
    starts: Tensor
    ends: Tensor

    def to(self, device: torch.device) -> "Texts":
        """The same on a device."""
        return Texts(*(x.to(device) for x in (self.ids, self.starts, self.ends)))


@dataclass(frozen=True)
class Pictures:
    """n images with their labels and tables, as `dataset.collate` has them."""

    rgb: Tensor
    labels: dict[str, Tensor]
    tables: dict[str, Tensor]

    def to(self, device: torch.device) -> "Pictures":
        """The same on a device."""
        labels, tables = ({name: x.to(device) for name, x in each.items()} for each in (self.labels, self.tables))
        return Pictures(self.rgb.to(device), labels, tables)

    def batch(self, index: Tensor) -> dict:
        """Some of them, int64 (b,), as `PrepareInputs` takes them."""
        labels, tables = ({name: x[index] for name, x in each.items()} for each in (self.labels, self.tables))
        return {"rgb": self.rgb[index], "labels": labels, "tables": tables}


def shifted(batch: dict, most: int) -> dict:
    """A batch whose images, each with its labels, are moved by up to so many pixels of the image.

    What leaves the picture is lost; on the other side its edge is repeated.
    """
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


def read_pictures(dataset: CaptionDataset, workers: int) -> Pictures:
    """Reads all images of a data set, in its order."""
    loader = Loader(dataset, AT_ONCE, num_workers=workers, collate_fn=collate)
    batches = list(progress_bar(loader, desc="reading"))
    names, tabled = batches[0]["labels"], batches[0]["tables"]
    return Pictures(
        torch.cat([batch["rgb"] for batch in batches]),
        {name: torch.cat([batch["labels"][name] for batch in batches]) for name in names},
        {name: _joined([batch["tables"][name] for batch in batches]) for name in tabled},
    )


def _joined(tables: Sequence[Tensor]) -> Tensor:
    """Tables (b, m, ...) of several m, one below the other, padded: classes with -1, words with zeros."""
    rows = max(table.shape[1] for table in tables)
    padded = []
    for table in tables:
        fill = 0 if table.is_floating_point() else -1
        more = table.new_full((len(table), rows - table.shape[1], *table.shape[2:]), fill)
        padded.append(torch.cat([table, more], dim=1))
    return torch.cat(padded)


def read_texts(model: Prismer, captions: CaptionDataset, questions: QuestionDataset, prefix: str) -> Texts:
    """Captions and questions with answers, as the tasks of both have them.

    Args:
        model: knows its tokens, and how questions begin and answers end.
        captions: with so many captions of each image as there are.
        questions: of the same images.
        prefix: of the captions, which is not learned.

    Raises:
        UserError: the lists are of different images.
    """
    if list(captions.images) != list(questions.images):
        raise UserError("the lists of captions and of questions are not of the same images")
    told, asked, answered = [], [], []
    for index in range(len(captions)):
        told += captions.text(index)["caption"]
        text = questions.text(index)
        asked += model.starts(text["question"])
        answered += [f" {answer}{model.tokenizer.eos_token}" for answer in model.ends(text["answer"])]

    def ids(texts: list[str], special: bool) -> list[list[int]]:
        different = list(dict.fromkeys(texts))  # many questions and answers are the same
        found = model.tokenizer(different, add_special_tokens=special).input_ids
        numbers = dict(zip(different, found, strict=True))
        return [numbers[text] for text in texts]

    first = len(model.tokenizer(prefix).input_ids) - 1
    pairs = [(text, first) for text in ids(told, True)]
    heads = ids(asked, False)
    replies = [(head + tail, len(head)) for head, tail in zip(heads, ids(answered, False), strict=True)]
    every, each = len(pairs) // len(captions), len(replies) // len(captions)
    rows = [
        pairs[index * every : (index + 1) * every] + replies[index * each : (index + 1) * each]
        for index in range(len(captions))
    ]
    longest = max(len(text) for row in rows for text, _ in row)
    longest = -(-longest // 8) * 8  # which attention on a GPU wants
    pad = model.config.text.pad_id
    padded = [[text + [pad] * (longest - len(text)) for text, _ in row] for row in rows]
    starts = [[start for _, start in row] for row in rows]
    return Texts(torch.tensor(padded), torch.tensor(starts), torch.tensor([[len(t) for t, _ in row] for row in rows]))
