"""VQA by ranking: seconds a question, with 3,128 answers of which k are scored in full."""

import torch

from benchmarks import baseline
from benchmarks.measure import print_table, start, take_turns
from benchmarks.networks import network, random_inputs, texts
from model.answer_ranking import Ranking, rank
from model.beam_search import Prompt
from model.vqa import PrismerVQA

ANSWERS = 3128
QUESTIONS_PER_IMAGE = 5  # VQAv2's test set has 5.5; an image is encoded once for all its questions
TURNS = {16: 3, 128: 2}  # of each way, by k


def main() -> None:
    tiny = start("VQA ranking, Prismer-Base, 480 px, batch 1, 3,128 answers of 1 to 4 tokens")
    model = network(PrismerVQA, tiny)
    decoder = model.text_decoder
    image = random_inputs(model.config, 1)
    answers, mask = texts(model.config, ANSWERS, 1, 4, end=True)
    ids, real = texts(model.config, QUESTIONS_PER_IMAGE, 6, 12, end=False)

    def prompt(questions: int) -> Prompt:
        return Prompt(ids[:questions], real[:questions], real[:questions].sum(dim=1))

    def baseline_way(k: int) -> Ranking:
        return baseline.rank(decoder, baseline.encode(model.expert_encoder, image), prompt(1), answers, mask, k)

    def ours(k: int, questions: int) -> Ranking:
        # Repeated, as in `Prismer.encode` for images with different numbers of questions.
        encoded = model.expert_encoder(image).repeat_interleave(questions, dim=0)
        return rank(decoder, encoded, prompt(questions), answers, mask, k)

    rows = []
    with torch.no_grad():
        for k, turns in TURNS.items():
            ways = {
                "baseline": lambda k=k: baseline_way(k),
                "ours": lambda k=k: ours(k, 1),
                "shared": lambda k=k: ours(k, QUESTIONS_PER_IMAGE),
            }
            timings = take_turns(ways, turns, warm_up=k == min(TURNS))
            check(timings["ours"].result, timings["baseline"].result)
            before = timings["baseline"].seconds
            for name, way, questions in (
                ("baseline", "baseline", 1),
                ("ours", "ours", 1),
                (f"ours, {QUESTIONS_PER_IMAGE} questions an image", "shared", QUESTIONS_PER_IMAGE),
            ):
                seconds = timings[way].seconds / questions
                rows.append([name, str(k), str(turns), f"{seconds:.2f}", f"{before / seconds:.1f}x"])
    print_table(["", "k", "turns", "s/question", "speed-up"], rows)


def check(ours: Ranking, expected: Ranking) -> None:
    """Asserts that both ways give the same answers."""
    assert torch.equal(ours.kept, expected.kept)
    torch.testing.assert_close(ours.scores, expected.scores, rtol=1e-4, atol=1e-4)


if __name__ == "__main__":
    main()
