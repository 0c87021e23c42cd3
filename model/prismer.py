"""What captioning and question answering share: the two towers, and texts to tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from model.config import FreezeMode, PrismerConfig
from model.decoder import TextDecoder
from model.encoder import ExpertEncoder
from model.errors import UserError
from model.freeze import freeze
from model.generation import Prompt
from model.modules.label_map import LabelMap
from model.ranking import Ranking, rank

MAX_QUESTION_TOKENS = 35


@dataclass
class CutTexts:
    """How many of the texts that a model has read were longer than it reads.

    Attributes:
        limit: the most tokens of a text.
        read: texts.
        cut: those of them that lost their end.
    """

    limit: int = 0
    read: int = 0
    cut: int = 0


class Prismer(nn.Module):
    """Expert encoder and text decoder. Its state-dict keys are those of the released checkpoints.

    Attributes:
        texts: what its input texts are, for people to read.
        cut_texts: the texts so far; whoever reads it may put a new one there.
    """

    texts: ClassVar[str] = "texts"

    def __init__(self, config: PrismerConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.expert_encoder = ExpertEncoder(config)
        self.text_decoder = TextDecoder(config)
        self.cut_texts = CutTexts()
        self._ranked: tuple[list[str], Tensor, Tensor] | None = None  # answers of the last ranking

    def freeze(self, mode: FreezeMode) -> None:
        """Freezes a part of the towers, see `model.freeze`."""
        freeze(self, mode)

    def blocks(self) -> list[nn.Module]:
        """The repeated units: each is sharded as one."""
        decoder = self.text_decoder.roberta["encoder"]
        return [*self.expert_encoder.blocks(), *decoder.layer, decoder.output_layer]

    def encode(
        self,
        experts: Mapping[str, Tensor | LabelMap],
        texts: int,
        counts: Sequence[int] | None = None,
        instance_indices: Tensor | None = None,
    ) -> Tensor:
        """Encodes images, each once however many texts it has.

        Args:
            experts: the input of `ExpertEncoder`, b images.
            texts: number of texts, those of an image together.
            counts: of the texts of each image; None: every image has as many.
            instance_indices: those of `ExpertEncoder`.

        Returns:
            (b, l, d), the tokens of each image, which the decoder shares among as many texts each; where
            images differ in that, (texts, l, d), the tokens of each text's image.
        """
        encoded = self.expert_encoder(experts, instance_indices)
        if counts is None or len(set(counts)) == 1:
            if texts % len(encoded):
                raise ValueError(f"{texts} texts for {len(encoded)} images; give their `counts`")
            return encoded
        repeats = torch.tensor(counts).to(encoded.device, non_blocking=True)
        return encoded.repeat_interleave(repeats, dim=0, output_size=texts)

    def tokens(self, texts: Sequence[str], **options) -> tuple[Tensor, Tensor]:
        """Tokenises texts, padded to the longest.

        Args:
            texts: b texts.
            options: of the tokenizer.

        Returns:
            Ids and mask, both int64 (b, l), on the host.
        """
        tokens = self.tokenizer(list(texts), padding="longest", return_tensors="pt", **options)
        return tokens.input_ids, tokens.attention_mask

    def cut_tokens(self, texts: Sequence[str], limit: int, **options) -> tuple[Tensor, Tensor]:
        """As `tokens`, of each text the first `limit` tokens, special ones included; counts what is cut."""
        options |= {"padding": "longest", "return_tensors": "pt", "truncation": True, "max_length": limit}
        tokens = self.tokenizer(list(texts), **options)
        seen, cut = self.cut_texts, sum(bool(each.overflowing) for each in tokens.encodings)
        self.cut_texts = CutTexts(limit, seen.read + len(texts), seen.cut + cut)
        return tokens.input_ids, tokens.attention_mask

    def answer_tokens(self, answers: list[str]) -> tuple[Tensor, Tensor]:
        """Tokenises answers as continuations of a text, end token included: ids and mask, both (b, l).

        Raises:
            UserError: an answer is too long for the text tower.
        """
        texts = [f" {answer}{self.tokenizer.eos_token}" for answer in answers]
        ids, mask = self.tokens(texts, add_special_tokens=False)
        limit = self.text_decoder.max_tokens - MAX_QUESTION_TOKENS
        if ids.shape[1] > limit:
            longest = answers[int(mask.sum(dim=1).argmax())]
            raise UserError(f"answer '{longest[:60]}' has more than {limit} tokens; shorten it")
        return ids, mask

    def rank_answers(self, encoded: Tensor, prompt: Prompt, answers: list[str], k: int) -> Ranking:
        """Ranks answers as continuations of prompts; their tokens are kept for the next batch."""
        if self._ranked is None or self._ranked[0] != answers:
            self._ranked = answers, *self.answer_tokens(answers)
        ids, mask = (x.to(encoded.device, non_blocking=True) for x in self._ranked[1:])
        return rank(self.text_decoder, encoded, prompt, ids, mask, k)
