"""Judges the claims of captions of Scenes.

    python -m nano.scenes.facts CAPTIONS.json --data data/scenes

CAPTIONS.json is a file that `train_caption.py` writes below `results/`. The number of a scene and the seed of
its folder determine its content, so images and labels are not read.
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from common.cli import named_path, run
from common.errors import UserError
from nano.scenes.dataset_files import FIRST_TEST_ID
from nano.scenes.scene import describe_scene
from nano.scenes.vocabulary import COLOURS, NUMBERS, SHAPES, SIZES
from nano.scenes.world import Sign, Solid, World

KINDS = ("sign", "word", "object", "count", "size", "relation", "place", "floor")

_NUMBER = {"a": 1, **{word: number for number, word in enumerate(NUMBERS)}}
_GROUP = re.compile(
    rf"\b(?P<number>{'|'.join(_NUMBER)}) (?:(?P<size>{'|'.join(SIZES)}) )?"
    rf"(?P<colour>{'|'.join(COLOURS)}) (?P<shape>{'|'.join(SHAPES)})s?\b"
    r"|\ba (?P<sign>sign)(?: (?:that says|reading|with the word) (?P<word>\w+))?"
)
_ALL = re.compile(rf"\b(?P<number>{'|'.join(_NUMBER)}) (?P<shape>solid|{'|'.join(SHAPES)})s?\b")
_RELATIONS = {
    "to the left of": lambda one, two: one.x < two.x,
    "to the right of": lambda one, two: one.x > two.x,
    "in front of": lambda one, two: one.depth < two.depth,
    "behind": lambda one, two: one.depth > two.depth,
}
_RELATION = re.compile(rf" ({'|'.join(_RELATIONS)}) $")
_PLACES = {"on the left": (0, 0.5), "on the right": (0.5, 1), "in the middle": (1 / 3, 2 / 3)}
_PLACE = re.compile(rf" ({'|'.join(_PLACES)})\b")
_FLOOR = re.compile(r"\ba (\w+) (?:floor|ground)\b")


def check(caption: str, world: World) -> list[tuple[str, bool]]:
    """The claims of a caption, each with its kind, one of `KINDS`, and whether it is right.

    "a red cube" claims that there is one (`object`) and no other (`count`); "a sign that says bread" claims a
    `sign` and its `word`. A size is judged where its solids are found; "next to" and "near" claim nothing. A
    relation or a place is right if all its things are found and it holds for the centres of their visible
    parts, however close they are; "in front of" and "behind" go by depth.
    """
    return list(_claims(caption.lower().rstrip("."), world))


def _claims(text: str, world: World) -> Iterator[tuple[str, bool]]:
    groups = list(_GROUP.finditer(text))
    things = [_named(group, world) for group in groups]
    for group, found in zip(groups, things, strict=True):
        if group["sign"]:
            yield "sign", bool(found)
            if group["word"]:
                yield "word", bool(found) and group["word"] == found[0].word
            continue
        yield "object", bool(found)
        yield "count", len(found) == _NUMBER[group["number"]]
        if group["size"] and found:
            yield "size", all(solid.size == group["size"] for solid in found)
        if place := _PLACE.match(text, group.end()):
            low, high = _PLACES[place[1]]
            yield "place", bool(found) and all(low <= thing.view.x <= high for thing in found)
    for total in _ALL.finditer(text):
        solids = [solid for solid in world.solids if total["shape"] in ("solid", solid.shape)]
        yield "count", len(solids) == _NUMBER[total["number"]]
    for (one, two), (first, second) in zip(pairwise(groups), pairwise(things), strict=True):
        if relation := _RELATION.match(text[one.end() : two.start()]):
            holds = _RELATIONS[relation[1]]
            yield "relation", bool(first and second) and all(holds(a.view, b.view) for a in first for b in second)
    for floor in _FLOOR.finditer(text):
        yield "floor", floor[1] == world.pattern


def _named(group: re.Match, world: World) -> list[Solid | Sign]:
    if group["sign"]:
        return [world.sign] if world.sign else []
    return [solid for solid in world.solids if solid.name == f"{group['colour']} {group['shape']}"]


def score(captions: Iterable[tuple[str, World]]) -> dict[str, dict[str, int]]:
    """Right claims and all claims, by kind.

    `caption` counts captions, right if nothing in them is wrong; `read` counts scenes with a sign, right if
    the caption has its word.
    """
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for caption, world in captions:
        claims = check(caption, world)
        claims.append(("caption", all(holds for _, holds in claims)))
        if world.sign:
            claims.append(("read", ("word", True) in claims))
        for kind, holds in claims:
            right[kind] += holds
            total[kind] += 1
    return {kind: {"right": right[kind], "of": total[kind]} for kind in (*KINDS, "read", "caption") if total[kind]}


def table(scores: dict[str, dict[str, int]]) -> str:
    lines = [f"{'':10}{'right':>7}{'of':>7}{'percent':>9}"]
    for kind, row in scores.items():
        lines.append(f"{kind:10}{row['right']:7d}{row['of']:7d}{100 * row['right'] / row['of']:9.1f}")
    return "\n".join(lines)


def read_captions(path: Path, data: Path) -> list[tuple[str, World]]:
    """Captions of a results file, each with the world of its scene.

    Raises:
        UserError: a file is missing or of another kind.
    """
    try:
        options = json.loads((data / "scenes.json").read_text())
        rows = [(int(row["image_id"]), str(row["caption"])) for row in json.loads(path.read_text())]
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not captions as train_caption.py writes them ({error!r})") from None
    worlds = []
    for image_id, caption in rows:
        split, index = divmod(image_id, FIRST_TEST_ID)
        worlds.append((caption, describe_scene([options["seed"], split, index], options["long_side"])[0]))
    return worlds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("captions", type=named_path, help="results of train_caption.py on Scenes")
    parser.add_argument("--data", type=named_path, default=Path("data/scenes"), help="the folder of the Scenes")
    args = parser.parse_args()
    print(table(score(read_captions(args.captions, args.data))))


if __name__ == "__main__":
    run(main)
