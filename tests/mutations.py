"""Damage to files: the same for the same seed."""

import random
from collections.abc import Iterator

_EXTREMES = (b"\0", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0")


def mutated(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """So many damaged forms of a file: cut, with other bytes, with parts twice, left out or put elsewhere."""
    draw = random.Random(seed)
    for _ in range(count):
        damaged = bytearray(content)
        for _ in range(draw.choice((1, 1, 2, 8))):
            # Half of the damage is to the header, in which most decoders go wrong.
            place = draw.randrange(min(len(damaged), draw.choice((64, len(damaged) or 1))) or 1)
            length = draw.choice((1, 2, 4, 16, 64))
            kind = draw.randrange(6)
            if kind == 0:
                damaged[place : place + 1] = bytes([draw.randrange(256)])
            elif kind == 1:
                extreme = draw.choice(_EXTREMES)
                damaged[place : place + len(extreme)] = extreme
            elif kind == 2:
                del damaged[place:]
            elif kind == 3:
                del damaged[place : place + length]
            elif kind == 4:
                damaged[place:place] = damaged[place : place + length]
            else:
                other = draw.randrange(len(damaged) or 1)
                damaged[place : place + length] = damaged[other : other + length]
        yield bytes(damaged)
