"""Visual question answering: the answer is generated, or chosen among given ones."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from model.answer_ranking import Ranking
from model.beam_search import Prompt, beam_search
from model.decoder import IGNORE
from model.inputs import Inputs
from model.prismer import MAX_QUESTION_TOKENS, Prismer

QUESTIONS_AT_ONCE = 32  # the cache of each holds keys and values of all its image's tokens, in every layer


class PrismerVQA(Prismer):
    """Continues a question to its answer."""

    texts = "questions"

    def forward(
        self,
        inputs: Inputs,
        questions: Sequence[str],
        answers: Sequence[str],
        weights: Tensor,
        instance_indices: Tensor | None = None,
    ) -> Tensor:
        """Computes the training loss.

        Args:
            inputs: the input of `ExpertEncoder`.
            questions: q questions: k for each of the b images; those of an image are adjacent.
            answers: q answers.
            weights: (q,), of the answers' losses.
            instance_indices: those of `ExpertEncoder`.

        Returns:
            The mean over questions of the weighted sums of their answers' token losses, scalar.
        """
        question_ids, question_mask = self.question_tokens(questions)
        answer_ids, answer_mask = self.answer_tokens(self.ends(answers))
        ids = torch.cat([question_ids, answer_ids], dim=1)
        mask = torch.cat([question_mask, answer_mask], dim=1)
        targets = ids.masked_fill(mask == 0, IGNORE)
        targets[:, : question_ids.shape[1]] = IGNORE
        return (weights * self.losses(inputs, ids, mask, targets, instance_indices)).mean()

    @torch.no_grad()
    def generate(
        self,
        inputs: Inputs,
        questions: Sequence[str],
        *,
        num_beams: int = 3,
        max_new: int = 10,
        min_new: int | None = None,
        length_penalty: float = -1.0,
        return_scores: bool = False,
        instance_indices: Tensor | None = None,
        counts: Sequence[int] | None = None,
    ) -> list[str] | tuple[list[str], list[float]]:
        """Answers questions by beam search.

        Args:
            inputs: the input of `ExpertEncoder`.
            questions: q questions; those of an image are adjacent.
            num_beams: beams of each question.
            max_new: the most tokens of an answer, end token included.
            min_new: the fewest, end token excluded; None: 1, or with `compat` 2 as in the original, which
                then cannot say `yes`.
            length_penalty: above 0 prefers long texts, below 0 short ones; the question counts.
            return_scores: return the answers' scores too.
            instance_indices: those of `ExpertEncoder`.
            counts: number of questions of each image; None: all have as many.

        Returns:
            q answers in lower case; with `return_scores` also their scores: log-probability divided by the
            number of tokens, the question's included, to the power of `length_penalty`.
        """
        if min_new is None:
            min_new = 2 if self.config.compat else 1
        encoded = self.encode(inputs, len(questions), counts, instance_indices)
        answers: list[str] = []
        scores: list[float] = []
        for part, tokens in self._parts(questions, encoded):
            found = beam_search(
                self.text_decoder,
                tokens,
                self.prompt(part, tokens),
                num_beams=num_beams,
                max_new=max_new,
                min_new=min_new,
                length_penalty=length_penalty,
            )
            texts = self.tokenizer.batch_decode(found.ids, skip_special_tokens=True)
            answers += [text.lower().strip() for text in texts]
            scores += found.scores.tolist()
        return (answers, scores) if return_scores else answers

    @torch.no_grad()
    def rank(
        self,
        inputs: Inputs,
        questions: Sequence[str],
        answers: Sequence[str],
        k: int,
        instance_indices: Tensor | None = None,
        counts: Sequence[int] | None = None,
    ) -> Ranking:
        """Chooses each question's best answer among given ones.

        Args:
            inputs: the input of `ExpertEncoder`.
            questions: q questions; those of an image are adjacent.
            answers: the answers to choose from, the same for all.
            k: how many to score in full: those with the likeliest first tokens.
            instance_indices: those of `ExpertEncoder`.
            counts: as in `generate`.
        """
        encoded = self.encode(inputs, len(questions), counts, instance_indices)
        ends = self.ends(answers)
        rankings = [
            self.rank_answers(tokens, self.prompt(part, tokens), ends, k)
            for part, tokens in self._parts(questions, encoded)
        ]
        return Ranking(*map(torch.cat, zip(*rankings, strict=True)))

    def _parts(self, questions: Sequence[str], encoded: Tensor) -> Iterator[tuple[list[str], Tensor]]:
        """Questions with their images' tokens, in parts that fit into memory."""
        each = len(questions) // len(encoded)
        # With `compat` a batch is padded as a whole, as in the original: its padding changes the numbers.
        size = len(encoded) if self.config.compat else max(QUESTIONS_AT_ONCE // each, 1)  # images at once
        for start in range(0, len(encoded), size):
            yield list(questions[start * each : (start + size) * each]), encoded[start : start + size]

    def prompt(self, questions: Sequence[str], encoded: Tensor) -> Prompt:
        """The questions, to be continued by their answers.

        Pads come first, so that a question gets the same answer alone and in a batch. With `compat` pads come
        last, and the first token of a padded question's answer is predicted from a pad.
        """
        ids, mask = (x.to(encoded.device) for x in self.question_tokens(questions))
        lengths = torch.full_like(ids[:, 0], ids.shape[1]) if self.config.compat else mask.sum(dim=1)
        return Prompt(ids, mask, lengths)

    def question_tokens(self, questions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokenises questions, in the same way for training and inference."""
        side = "right" if self.config.compat else "left"
        options = {"add_special_tokens": False, "padding_side": side}
        return self.tokens(self.starts(questions), MAX_QUESTION_TOKENS, **options)

    def question_ids(self, question: str) -> list[int]:
        """Token ids of one question, start token included, without pads."""
        text = self.starts([question])[0]
        return self.tokenizer(text, add_special_tokens=False).input_ids[:MAX_QUESTION_TOKENS]

    def starts(self, questions: Sequence[str]) -> list[str]:
        """Questions as the model reads them."""
        return [self.tokenizer.bos_token + question.capitalize() for question in questions]

    def ends(self, answers: Sequence[str]) -> list[str]:
        """Answers as the model writes them."""
        return [answer.capitalize() for answer in answers]
