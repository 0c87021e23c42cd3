"""Image captioning, and classification by ranking class names as captions."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from common.errors import UserError
from model.answer_ranking import Ranking
from model.beam_search import Prompt, beam_search
from model.decoder import IGNORE
from model.inputs import Inputs
from model.prismer import Prismer

MAX_CAPTION_TOKENS = 30  # of a training caption, by default


def start_ids(tokenizer: PreTrainedTokenizerBase, prefix: str) -> list[int]:
    """Token ids of the start token and the prefix of a caption."""
    return tokenizer(prefix).input_ids[:-1]


def check_prefix(
    prefix: str, ids: list[int], *, max_length: int | None = None, max_caption_tokens: int | None = None
) -> None:
    """Raises UserError if a prefix, of these ids, leaves no room for a caption that is written or trained on."""
    if max_caption_tokens is not None and len(ids) >= max_caption_tokens - 1:
        raise UserError(
            f"prefix '{prefix}' leaves no room in the {max_caption_tokens} tokens of a training caption; "
            "shorten `prefix` in the config, or raise `max_caption_tokens`"
        )
    if max_length is not None and len(ids) >= max_length:
        raise UserError(f"max_length {max_length} is no more than the prefix '{prefix}'; raise max_length")


class PrismerCaption(Prismer):
    """Continues a prefix, such as 'A picture of', to a caption of the image."""

    texts = "captions"

    def forward(
        self,
        inputs: Inputs,
        captions: Sequence[str],
        prefix: str = "",
        instance_indices: Tensor | None = None,
        max_tokens: int = MAX_CAPTION_TOKENS,
    ) -> Tensor:
        """Computes the training loss.

        Args:
            inputs: the input of `ExpertEncoder`.
            captions: k captions, prefix included, for each of the b images; those of an image are adjacent.
            prefix: the start of all captions; it has no loss.
            instance_indices: those of `ExpertEncoder`.
            max_tokens: of a caption, with start token, prefix and end token. Longer captions are cut, and
                counted in `cut_texts`.

        Returns:
            The mean over samples of the summed losses of their tokens, scalar.

        Raises:
            UserError: the prefix leaves no room for a caption.
        """
        start = self.start_ids(prefix)
        check_prefix(prefix, start, max_caption_tokens=max_tokens)
        ids, mask = self.tokens(captions, max_tokens)
        targets = ids.masked_fill(mask == 0, IGNORE)
        targets[:, : len(start)] = IGNORE
        return self.losses(inputs, ids, mask, targets, instance_indices).mean()

    @torch.no_grad()
    def generate(
        self,
        inputs: Inputs,
        prefix: str = "",
        *,
        num_beams: int = 3,
        max_length: int = 20,
        min_length: int = 8,
        length_penalty: float = 1.0,
        return_scores: bool = False,
        instance_indices: Tensor | None = None,
    ) -> list[str] | tuple[list[str], list[float]]:
        """Captions images by beam search.

        Args:
            inputs: the input of `ExpertEncoder`.
            prefix: the start of each caption.
            num_beams: beams of each image.
            max_length: the most tokens of a caption, with start token, prefix and end token.
            min_length: the fewest, with start token and prefix.
            length_penalty: above 0 prefers long texts, below 0 short ones.
            return_scores: return the captions' scores too.
            instance_indices: those of `ExpertEncoder`.

        Returns:
            b captions without the prefix; with `return_scores` also their scores: log-probability divided by
            the number of tokens to the power of `length_penalty`.
        """
        check_prefix(prefix, self.start_ids(prefix), max_length=max_length)
        encoded = self.expert_encoder(inputs, instance_indices)
        prompt = self.prompt(prefix, encoded)
        start = prompt.ids.shape[1]
        found = beam_search(
            self.text_decoder,
            encoded,
            prompt,
            num_beams=num_beams,
            max_new=max_length - start,
            min_new=min_length - start,
            length_penalty=length_penalty,
        )
        texts = self.tokenizer.batch_decode(found.ids, skip_special_tokens=True)
        captions = [text[1:] for text in texts] if prefix else texts  # without the space after the prefix
        return (captions, found.scores.tolist()) if return_scores else captions

    @torch.no_grad()
    def rank(
        self,
        inputs: Inputs,
        answers: Sequence[str],
        k: int,
        prefix: str = "",
        instance_indices: Tensor | None = None,
    ) -> Ranking:
        """Chooses each image's best among given continuations of the prefix, such as class names.

        Args:
            inputs: the input of `ExpertEncoder`.
            answers: the continuations.
            k: how many to score in full: those with the likeliest first tokens.
            prefix: the start of each caption.
            instance_indices: those of `ExpertEncoder`.
        """
        encoded = self.expert_encoder(inputs, instance_indices)
        prompt = self.prompt(prefix, encoded)
        return self.rank_answers(encoded, prompt, [answer.lower() for answer in answers], k)

    def prompt(self, prefix: str, encoded: Tensor) -> Prompt:
        """The start of each image's caption, see `start_ids`."""
        ids = torch.tensor(self.start_ids(prefix), device=encoded.device).repeat(len(encoded), 1)  # (b, p)
        return Prompt(ids, torch.ones_like(ids), torch.full_like(ids[:, 0], ids.shape[1]))

    def start_ids(self, prefix: str) -> list[int]:
        """Token ids of the start token and the prefix."""
        return start_ids(self.tokenizer, prefix)
