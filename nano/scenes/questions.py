"""Questions with one certain answer about a world."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from nano.scenes.captions import DEPTH_MARGIN, SIDE_MARGIN
from nano.scenes.vocabulary import COLOURS, SHAPES, SIZES, SOLIDS, WORDS
from nano.scenes.world import Solid, World

QUESTIONS_PER_SCENE = 10
TYPES = ("count", "color", "shape", "size", "position", "exist", "read")


@dataclass(frozen=True)
class Question:
    """A question, its answer, and its type, one of `TYPES`."""

    question: str
    answer: str
    type: str


def answer_list() -> list[str]:
    """Every answer that can occur."""
    numbers = [str(number) for number in range(7)]
    sides = ["left", "right", "in front", "behind"]
    return ["yes", "no", *numbers, *COLOURS, *SHAPES, *SIZES, *sides, *SOLIDS, *WORDS]


def make_questions(world: World, rng: np.random.Generator) -> list[Question]:
    """Ten different questions about a scene, spread as evenly over the types as it allows."""
    piles = []
    for kind in (_count, _colour, _shape, _size, _position, _exist, _read):
        pile = list(kind(world, rng))
        piles.append([pile[i] for i in rng.permutation(len(pile))])
    chosen: list[Question] = []
    while len(chosen) < QUESTIONS_PER_SCENE and any(piles):
        for pile in piles:
            while pile:
                question = pile.pop()
                if all(question.question != other.question for other in chosen):
                    chosen.append(question)
                    break
    absent = _absent(world)  # a scene of few solids has few certain questions: fill up
    while len(chosen) < QUESTIONS_PER_SCENE:
        question = absent.pop(int(rng.integers(len(absent))))
        if question not in chosen:
            chosen.append(question)
    return chosen[:QUESTIONS_PER_SCENE]


def _identified(world: World, name: Callable[[Solid], str]) -> Iterator[tuple[Solid, str]]:
    """The solids with a unique name, or a unique name with their size before it; and these names."""
    for solid in world.solids:
        alike = [other for other in world.solids if name(other) == name(solid)]
        if len(alike) == 1:
            yield solid, name(solid)
        elif sum(other.size == solid.size for other in alike) == 1:
            yield solid, f"{solid.size} {name(solid)}"


def _count(world, rng) -> Iterator[Question]:
    solids = world.solids
    shapes, colours = Counter(solid.shape for solid in solids), Counter(solid.colour for solid in solids)
    yield Question("How many solids are there?", str(len(solids)), "count")
    for shape in SHAPES:
        if shapes[shape] or rng.random() < 0.15:
            yield Question(f"How many {shape}s are there?", str(shapes[shape]), "count")
    for colour in COLOURS:
        if colours[colour] or rng.random() < 0.08:
            yield Question(f"How many {colour} solids are there?", str(colours[colour]), "count")
    for name, number in Counter(solid.name for solid in solids).items():
        yield Question(f"How many {name}s are there?", str(number), "count")
    absent = _absent_names(world)
    for index in rng.choice(len(absent), int(rng.integers(1, 3)), replace=False):
        yield Question(f"How many {absent[index]}s are there?", "0", "count")


def _colour(world, rng) -> Iterator[Question]:
    for solid, name in _identified(world, lambda solid: solid.shape):
        yield Question(f"What color is the {name}?", solid.colour, "color")


def _shape(world, rng) -> Iterator[Question]:
    for solid, name in _identified(world, lambda solid: f"{solid.colour} solid"):
        yield Question(f"What shape is the {name}?", solid.shape, "shape")


def _size(world, rng) -> Iterator[Question]:
    for solid, name in _identified(world, lambda solid: solid.name):
        if name == solid.name:
            yield Question(f"Is the {name} small or large?", solid.size, "size")


def _position(world, rng) -> Iterator[Question]:
    things = list(_identified(world, lambda solid: solid.name))
    if world.sign:
        things.append((world.sign, "sign"))
    for (one, name), (two, other) in permutations(things, 2):
        aside, ahead = two.view.x - one.view.x, two.view.depth - one.view.depth
        if abs(aside) > SIDE_MARGIN:
            side = "left" if aside > 0 else "right"
            asked = str(rng.choice(["left", "right"]))
            yes = "yes" if asked == side else "no"
            yield Question(f"Is the {name} to the {asked} of the {other}?", yes, "position")
            yield Question(f"Is the {name} to the left or to the right of the {other}?", side, "position")
        if abs(ahead) > DEPTH_MARGIN:
            side = "in front" if ahead > 0 else "behind"
            yield Question(f"Is the {name} in front of or behind the {other}?", side, "position")
    if len(world.solids) > 1:
        ordered = sorted(world.solids, key=lambda solid: solid.view.x)
        if ordered[1].view.x - ordered[0].view.x > SIDE_MARGIN / 2:
            yield Question("Which solid is the farthest to the left?", ordered[0].name, "position")
        if ordered[-1].view.x - ordered[-2].view.x > SIDE_MARGIN / 2:
            yield Question("Which solid is the farthest to the right?", ordered[-1].name, "position")


def _exist(world, rng) -> Iterator[Question]:
    solids = world.solids
    yield Question("Is there a sign?", "yes" if world.sign else "no", "exist")
    for solid in (solids[0], solids[-1]):
        yield Question(f"Is there a {solid.name}?", "yes", "exist")
    absent = _absent(world)
    for index in rng.choice(len(absent), 2, replace=False):
        yield absent[index]


def _absent(world) -> list[Question]:
    return [Question(f"Is there a {name}?", "no", "exist") for name in _absent_names(world)]


def _absent_names(world) -> list[str]:
    """Solids that the scene lacks, but that share colour or shape with one of its solids."""
    present = {solid.name for solid in world.solids}
    words = {word for name in present for word in name.split()}
    return [name for name in SOLIDS if name not in present and words & set(name.split())]


def _read(world, rng) -> Iterator[Question]:
    if world.sign:
        yield Question("What does the sign say?", world.sign.word, "read")
        yield Question("Which word is on the sign?", world.sign.word, "read")
