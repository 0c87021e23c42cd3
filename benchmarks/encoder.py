"""The expert encoder alone: seconds an image, and its share of the machine's peak in matrix products."""

import torch

from benchmarks import baseline
from benchmarks.measure import count_flops, print_table, start, take_turns
from benchmarks.networks import network, random_inputs
from model.captioning import PrismerCaption

TURNS = 5


def main() -> None:
    tiny = start("Expert encoder, Prismer-Base, 480 px, batch 1")
    model = network(PrismerCaption, tiny)
    encoder, image = model.expert_encoder, random_inputs(model.config, 1)
    side = 256 if tiny else 4096
    matrix = torch.randn(side, side)
    ways = {
        f"peak: product of {side} x {side} matrices": lambda: matrix @ matrix,
        "baseline": lambda: baseline.encode(encoder, image),
        "ours": lambda: encoder(image),
    }
    flops = count_flops(ways["ours"])
    with torch.no_grad():
        timings = take_turns(ways, TURNS)
    peak, before, ours = timings.values()
    torch.testing.assert_close(ours.result, before.result, rtol=1e-4, atol=1e-4)

    peak_rate, rows = 2 * side**3 / peak.seconds, []
    for (name, timing), work in zip(timings.items(), (2 * side**3, flops, flops), strict=True):
        rate = work / timing.seconds
        row = [f"{timing.seconds:.2f}", f"{work / 1e9:.0f}", f"{rate / 1e9:.0f}", f"{rate / peak_rate:.0%}"]
        rows.append([name, str(TURNS), *row])
    print_table(["", "turns", "s", "GFLOP", "GFLOP/s", "of the peak"], rows)


if __name__ == "__main__":
    main()
