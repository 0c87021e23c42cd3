"""The training loop of the miniature, and the losses of its tasks."""

import argparse
import time
from collections.abc import Callable, Iterator

import torch
from accelerate.utils import recursively_apply, send_to_device
from torch import Tensor, nn
from torch.nn import functional as F

from helpers.performance.cuda_graphs import capture, warm_up
from helpers.training.schedule import cosine_lr
from model.decoder import IGNORE, LABEL_SMOOTHING
from model.inputs import PrepareInputs
from model.prismer import Prismer
from nano.scenes_in_memory import shifted

TEXT = "ocr_detection"
CARRIERS = 8  # the encoder's last tokens, which carry the word
WORDS = 2.0  # weight of the word's loss
ANSWERS = 2.0  # weight of a token of an answer; a token of a caption has 1
SHIFT = 6  # pixels that an image may move, against overfitting
CAPTIONS, QUESTIONS = 5, 10  # of an image, as Scenes have them
MAX_NORM = 5.0  # of the gradient
WARM_UP = 200  # steps
LOG_EVERY = 250  # steps
SYNC_EVERY = 10  # steps that a GPU may lag behind


def fit(model: Prismer, prepare: PrepareInputs, scenes: dict, args: argparse.Namespace, deadline: float) -> None:
    """Trains a model in place, and moves it back to the CPU.

    Args:
        model: with new weights.
        prepare: makes the model's input of a batch.
        scenes: images, labels and tables of `read_images`, and as `texts` those of `read_texts`.
        args: the flags.
        deadline: the latest end, by `time.monotonic`; the learning rate falls until then.
    """
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    device = torch.device(accelerator)
    task = MultiTaskLoss(model, prepare, send_to_device(scenes, device), args.texts).to(device).train()
    on_graph = device.type == "cuda" and not args.eager
    torch.backends.cuda.matmul.allow_tf32 = True
    lr = torch.zeros((), device=device) if on_graph else 0.0
    optimizer = torch.optim.AdamW(task.parameters(), lr=lr, weight_decay=0.05, fused=True, capturable=on_graph)
    index = torch.zeros(args.batch_size, dtype=torch.int64, device=device)

    def step() -> Tensor:
        optimizer.zero_grad()
        losses = task(index)
        losses[0].backward()
        nn.utils.clip_grad_norm_(task.parameters(), MAX_NORM)
        optimizer.step()
        return losses.detach()

    batches = _batches(len(scenes["rgb"]), args.batch_size, args.seed)
    index.copy_(next(batches))
    if on_graph:
        step = _captured(step)
    began, done, share = time.monotonic(), 0, 0.0
    while share < 1:
        rate = cosine_lr(share, 1.0, args.lr, args.lr / 200) * min((done + 1) / WARM_UP, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = group["lr"].fill_(rate) if on_graph else rate
        index.copy_(next(batches))
        losses = step()
        done += 1
        if done % SYNC_EVERY == 0:
            losses = losses.tolist()  # waits for the device, so that its time counts
        seconds = time.monotonic() - began
        if done % LOG_EVERY == 0:
            names = ("loss", "captions", "answers", "words", "words read")
            values = ", ".join(f"{name} {value:.3f}" for name, value in zip(names, losses, strict=True))
            print(f"step {done}, {seconds:.0f} s: {values}", flush=True)
        share = max(done / args.steps, seconds / (deadline - began))
    print(f"{done} steps in {seconds:.0f} s on {device}")
    model.cpu().eval()


def _batches(length: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Endless batches of indices, int64 (batch_size,); each epoch has its own order."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.zeros(0, dtype=torch.int64)
    while True:
        while len(left) < batch_size:
            left = torch.cat([left, torch.randperm(length, generator=generator)])
        yield left[:batch_size]
        left = left[batch_size:]


def _captured(step: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The step as one CUDA graph: its kernels are shorter than their launches from the host."""
    for _ in range(5):
        warm_up(step)
    replay, losses = capture(step)

    def again() -> Tensor:
        replay()
        return losses

    return again


class MultiTaskLoss(nn.Module):
    """A model and the losses of its tasks; shapes do not depend on the batch, as a CUDA graph needs.

    Args:
        model: the model to train.
        prepare: makes the model's input of a batch.
        scenes: as for `fit`, on the device of the training.
        chosen: how many of an image's texts a step draws.
    """

    def __init__(self, model: Prismer, prepare: PrepareInputs, scenes: dict, chosen: int) -> None:
        super().__init__()
        self.model, self.prepare = model, prepare
        self.texts = scenes["texts"]
        self.images = {name: scenes[name] for name in ("rgb", "labels", "tables")}
        self.chosen = min(chosen, self.texts["ids"].shape[1])
        self.words = None  # int64 (n,), the word of each image's sign; -1: no sign
        if TEXT in scenes["tables"]:
            self.words, count = _numbered(scenes["tables"][TEXT][:, 0])
            self.reader = nn.Linear(model.config.vision.width, count)

    def forward(self, index: Tensor) -> Tensor:
        """Losses of some images, int64 (b,).

        Returns:
            float32 (5,): the loss to minimise; the mean losses of a caption's token, of an answer's token and
            of a word; the share of words that are read right.
        """
        batch, many = len(index), self.texts["ids"].shape[1]
        images = shifted(recursively_apply(lambda values: values[index], self.images), SHIFT)
        encoded = self.model.expert_encoder(self.prepare(images))  # (b, l, d)
        drawn = torch.rand(batch, many, device=index.device).argsort(dim=1)[:, : self.chosen]
        ids, starts, ends = (
            self.texts[name][index[:, None], drawn].flatten(0, 1) for name in ("ids", "starts", "ends")
        )  # (b * chosen, l), (b * chosen,), (b * chosen,)
        places = torch.arange(ids.shape[1], device=ids.device)
        real = places < ends[:, None]
        learned = real & (places >= starts[:, None])
        decoder = self.model.text_decoder
        logits = decoder.lm_head(decoder.read(ids, real.long(), encoded)[:, :-1])  # (b * chosen, l - 1, v)
        targets = torch.where(learned, ids, IGNORE)[:, 1:]
        losses = F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), label_smoothing=LABEL_SMOOTHING, reduction="none"
        ).view_as(targets)
        captions = (drawn < CAPTIONS).flatten()[:, None] & learned[:, 1:]
        answers = ~captions & learned[:, 1:]
        total = (losses * torch.where(answers, ANSWERS, 1.0)).sum() / len(ids)
        parts = [(losses * kind).sum() / kind.sum().clamp(min=1) for kind in (captions, answers)]
        word = right = total.new_zeros(())
        if self.words is not None:
            words = self.words[index]  # (b,)
            read = self.reader(encoded[:, -CARRIERS:].mean(dim=1))  # (b, count)
            signs = words >= 0
            count = signs.sum().clamp(min=1)
            word = F.cross_entropy(read, words, ignore_index=-1, reduction="sum") / count
            right = ((read.argmax(dim=1) == words) & signs).sum() / count
            total = total + WORDS * word
        return torch.stack([total, *parts, word, right])


def _numbered(embeddings: Tensor) -> tuple[Tensor, int]:
    """Embeddings (n, d) of words as numbers, int64 (n,), -1 for zeros; and how many words there are."""
    present = embeddings.any(dim=1)
    known, numbers = embeddings[present].unique(dim=0, return_inverse=True)
    words = torch.full((len(embeddings),), -1, device=embeddings.device)
    words[present] = numbers
    return words, len(known)
