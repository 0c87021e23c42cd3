"""Captioning by beam search: seconds an image."""

from unittest.mock import patch

import torch

from benchmarks import baseline
from benchmarks.measure import print_table, start, take_turns
from benchmarks.networks import network, random_inputs
from model import beam_search
from model.captioning import PrismerCaption

PREFIX = "A picture of"
BATCH = 8  # the config's
TURNS = 3


def main() -> None:
    tiny = start("Caption beam search, Prismer-Base, 480 px, 3 beams, all captions of 20 tokens")
    model = network(PrismerCaption, tiny)
    image, images = random_inputs(model.config, 1), random_inputs(model.config, BATCH)

    def baseline_way() -> tuple[list[str], list[float]]:
        # Both use our search; they differ in the source of the logits.
        with (
            patch.object(model.expert_encoder, "forward", lambda x, _: baseline.encode(model.expert_encoder, x)),
            patch.object(beam_search, "Beams", baseline.Beams),
        ):
            return model.generate(image, PREFIX, return_scores=True)

    ways = {
        "baseline": baseline_way,
        "ours": lambda: model.generate(image, PREFIX, return_scores=True),
        f"ours, batch {BATCH}": lambda: model.generate(images, PREFIX, return_scores=True),
    }
    timings = take_turns(ways, TURNS)
    (captions, scores), (expected, expected_scores) = timings["ours"].result, timings["baseline"].result
    assert captions == expected
    torch.testing.assert_close(torch.tensor(scores), torch.tensor(expected_scores), rtol=1e-4, atol=1e-4)

    before, rows = timings["baseline"].seconds, []
    for name, timing in timings.items():
        seconds = timing.seconds / len(timing.result[0])
        rows.append([name, str(TURNS), f"{seconds:.2f}", f"{before / seconds:.1f}x"])
    print_table(["", "turns", "s/image", "speed-up"], rows)


if __name__ == "__main__":
    main()
