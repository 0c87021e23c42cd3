"""The model without a task: two towers, losses, tokenisation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from common.errors import UserError
from model.answer_ranking import Ranking, rank
from model.beam_search import Prompt
from model.config import FreezeMode, PrismerConfig
from model.decoder import Places, TextDecoder, loss_places
from model.encoder import ExpertEncoder
from model.freeze import freeze
from model.inputs import Inputs

MAX_QUESTION_TOKENS = 35


@dataclass
class CutTexts:
    """A count of the texts that were too long.

    Attributes:
        limit: the most tokens of a text.
        read: texts read.
        cut: texts that lost their end.
    """

    limit: int = 0
    read: int = 0
    cut: int = 0


class Prismer(nn.Module):
    """Expert encoder and text decoder. Its state-dict keys are those of the released checkpoints.

    Attributes:
        texts: the word for its input texts in messages.
        cut_texts: the count so far; a reader may reset it.
        multiple: in training, the length of texts and the number of their targets are padded to multiples of
            this, so that batches have few shapes.
    """

    texts: ClassVar[str] = "texts"

    def __init__(self, config: PrismerConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.expert_encoder = ExpertEncoder(config)
        self.text_decoder = TextDecoder(config)
        self.cut_texts = CutTexts()
        self.multiple = 1
        self._ranked: tuple[list[str], Tensor, Tensor] | None = None  # answers of the last ranking, ids, mask

    def freeze(self, mode: FreezeMode) -> None:
        """Freezes a part of the towers, see `model.freeze`."""
        freeze(self, mode)

    def blocks(self) -> list[nn.Module]:
        """The repeated units, which are compiled, checkpointed and sharded one by one."""
        decoder = self.text_decoder.roberta["encoder"]
        return [*self.expert_encoder.blocks(), *decoder.layer, decoder.output_layer]

    def encode(
        self,
        inputs: Inputs,
        texts: int,
        counts: Sequence[int] | None = None,
        instance_indices: Tensor | None = None,
    ) -> Tensor:
        """Encodes each image once, however many texts it has.

        Args:
            inputs: the input of `ExpertEncoder`, b images.
            texts: number of texts; those of an image are adjacent.
            counts: number of texts of each image; None: all have as many.
            instance_indices: those of `ExpertEncoder`.

        Returns:
            The tokens of each image (b, l, d), which the decoder shares among its texts; if images have
            different numbers of texts, the tokens of each text's image (texts, l, d).
        """
        encoded = self.expert_encoder(inputs, instance_indices)
        if counts is None or len(set(counts)) == 1:
            if texts % len(encoded):
                raise ValueError(f"{texts} texts for {len(encoded)} images; give their `counts`")
            return encoded
        repeats = torch.tensor(counts).to(encoded.device, non_blocking=True)
        return encoded.repeat_interleave(repeats, dim=0, output_size=texts)

    def losses(
        self, inputs: Inputs, ids: Tensor, mask: Tensor, targets: Tensor, instance_indices: Tensor | None = None
    ) -> Tensor:
        """The loss of each text, given its image.

        Args:
            inputs: the input of `ExpertEncoder`, b images.
            ids: int64 (q, l), on the host; the texts of an image are adjacent.
            mask: int64 (q, l), on the host, 1 for real tokens, 0 for pads.
            targets: int64 (q, l), on the host, the token ids, or IGNORE where there is no loss.
            instance_indices: those of `ExpertEncoder`.

        Returns:
            float32 (q,).
        """
        fill = self.training and self.multiple > 1
        places = loss_places(targets, self.multiple * len(targets) if fill else 1)
        ids, mask, *places = (from_host(x, inputs["rgb"].device) for x in (ids, mask, *places))
        return self.losses_at(inputs, ids, mask, Places(*places), instance_indices)

    def losses_at(
        self, inputs: Inputs, ids: Tensor, mask: Tensor, places: Places, instance_indices: Tensor | None = None
    ) -> Tensor:
        """As `losses`, with everything on the device."""
        encoded = self.encode(inputs, len(ids), instance_indices=instance_indices)
        return self.text_decoder.loss(ids, mask, places, encoded)

    def tokens(self, texts: Sequence[str], limit: int | None = None, **options) -> tuple[Tensor, Tensor]:
        """Tokenises texts, padded to the longest, in training to `multiple`.

        Args:
            texts: b texts.
            limit: the most tokens of a text, special ones included; counts the texts it cuts in `cut_texts`.
            options: of the tokenizer.

        Returns:
            Ids and mask, both int64 (b, l), on the host.
        """
        cut = {"truncation": True, "max_length": limit} if limit else {}
        tokens = self.tokenizer(list(texts), padding="longest", return_tensors="pt", **cut, **options)
        if limit:
            seen, lost = self.cut_texts, sum(bool(each.overflowing) for each in tokens.encodings)
            self.cut_texts = CutTexts(limit, seen.read + len(texts), seen.cut + lost)
        # Here, because a tokenizer that truncates refuses to pad to a multiple.
        rest = -tokens.input_ids.shape[1] % self.multiple if self.training else 0
        side = options.get("padding_side", self.tokenizer.padding_side)
        pads = (rest, 0) if side == "left" else (0, rest)
        return F.pad(tokens.input_ids, pads, value=self.tokenizer.pad_token_id), F.pad(tokens.attention_mask, pads)

    def answer_tokens(self, answers: list[str]) -> tuple[Tensor, Tensor]:
        """Tokenises answers as continuations of a text, end token included: ids and mask, both (b, l).

        Raises:
            UserError: an answer is too long for the text tower.
        """
        texts = [f" {answer}{self.tokenizer.eos_token}" for answer in answers]
        ids, mask = self.tokens(texts, add_special_tokens=False)
        limit = self.text_decoder.max_tokens - MAX_QUESTION_TOKENS
        lengths = mask.sum(dim=1)
        if lengths.max() > limit:
            longest = answers[int(lengths.argmax())]
            raise UserError(f"answer '{longest[:60]}' has more than {limit} tokens; shorten it")
        return ids, mask

    def rank_answers(self, encoded: Tensor, prompt: Prompt, answers: list[str], k: int) -> Ranking:
        """Ranks answers as continuations of prompts; keeps their tokens for the next batch."""
        if self._ranked is None or self._ranked[0] != answers:
            self._ranked = answers, *self.answer_tokens(answers)
        ids, mask = (x.to(encoded.device, non_blocking=True) for x in self._ranked[1:])
        return rank(self.text_decoder, encoded, prompt, ids, mask, k)


def from_host(x: Tensor, device: torch.device) -> Tensor:
    """Copies a tensor from the host to a device without waiting."""
    return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)
