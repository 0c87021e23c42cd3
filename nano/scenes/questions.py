"""Questions with one certain answer about a world."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nano.scenes.captions import DEPTH_MARGIN, SIDE_MARGIN
from nano.scenes.vocabulary import COLOURS, SHAPES, SIZES, WORDS
from nano.scenes.world import World

QUESTIONS_PER_SCENE = 10
TYPES = ("count", "color", "shape", "size", "position", "exist", "read")


@dataclass(frozen=True)
class Question:
    """A question, its answer, and what it is about (one of TYPES)."""

    question: str
    answer: str
    type: str


def answer_list() -> list[str]:
    """Every answer that can occur."""
    names = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
    numbers = [str(number) for number in range(7)]
    sides = ["left", "right", "in front", "behind"]
    return ["yes", "no", *numbers, *COLOURS, *SHAPES, *SIZES, *sides, *names, *WORDS]


def make_questions(world: World, rng: np.random.Generator) -> list[Question]:
    """Ten different questions about a scene, as even over the types as it allows."""
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


def _references(world) -> list[tuple]:
    """(solid, name) of each that can be told apart by colour, shape and, if need be, size."""
    found = []
    for solid in world.solids:
        if sum(other.name == solid.name for other in world.solids) == 1:
            found.append((solid, solid.name))
        elif sum((other.name, other.size) == (solid.name, solid.size) for other in world.solids) == 1:
            found.append((solid, f"{solid.size} {solid.name}"))
    return found


def _count(world, rng) -> Iterator[Question]:
    solids = world.solids
    yield Question("How many solids are there?", str(len(solids)), "count")
    for shape in SHAPES:
        number = sum(solid.shape == shape for solid in solids)
        if number or rng.random() < 0.15:
            yield Question(f"How many {shape}s are there?", str(number), "count")
    for colour in COLOURS:
        number = sum(solid.colour == colour for solid in solids)
        if number or rng.random() < 0.08:
            yield Question(f"How many {colour} solids are there?", str(number), "count")
    for name in {solid.name: None for solid in solids}:
        number = sum(solid.name == name for solid in solids)
        yield Question(f"How many {name}s are there?", str(number), "count")
    absent = _absent_names(world)
    for index in rng.choice(len(absent), int(rng.integers(1, 3)), replace=False):
        yield Question(f"How many {absent[index]}s are there?", "0", "count")


def _colour(world, rng) -> Iterator[Question]:
    solids = world.solids
    for solid in solids:
        if sum(other.shape == solid.shape for other in solids) == 1:
            yield Question(f"What color is the {solid.shape}?", solid.colour, "color")
        elif sum((other.shape, other.size) == (solid.shape, solid.size) for other in solids) == 1:
            yield Question(f"What color is the {solid.size} {solid.shape}?", solid.colour, "color")


def _shape(world, rng) -> Iterator[Question]:
    solids = world.solids
    for solid in solids:
        if sum(other.colour == solid.colour for other in solids) == 1:
            yield Question(f"What shape is the {solid.colour} solid?", solid.shape, "shape")
        elif sum((other.colour, other.size) == (solid.colour, solid.size) for other in solids) == 1:
            yield Question(f"What shape is the {solid.size} {solid.colour} solid?", solid.shape, "shape")


def _size(world, rng) -> Iterator[Question]:
    for solid, name in _references(world):
        if name == solid.name:
            yield Question(f"Is the {name} small or large?", solid.size, "size")


def _position(world, rng) -> Iterator[Question]:
    references = _references(world)
    if world.sign:
        references.append((world.sign, "sign"))
    for i in range(len(references)):
        for j in range(len(references)):
            if i == j:
                continue
            (one, name), (two, other) = references[i], references[j]
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
    names = [solid.name for solid in world.solids]
    yield Question("Is there a sign?", "yes" if world.sign else "no", "exist")
    for name in (names[0], names[-1]):
        yield Question(f"Is there a {name}?", "yes", "exist")
    absent = _absent(world)
    for index in rng.choice(len(absent), 2, replace=False):
        yield absent[index]


def _absent(world) -> list[Question]:
    """Questions for solids that are not there."""
    return [Question(f"Is there a {name}?", "no", "exist") for name in _absent_names(world)]


def _absent_names(world) -> list[str]:
    """Solids that are not there, but share colour or shape with one that is."""
    names = [solid.name for solid in world.solids]
    return [
        f"{colour} {shape}"
        for colour in COLOURS
        for shape in SHAPES
        if f"{colour} {shape}" not in names
        and (any(colour in name for name in names) or any(shape in name for name in names))
    ]


def _read(world, rng) -> Iterator[Question]:
    if world.sign:
        yield Question("What does the sign say?", world.sign.word, "read")
        yield Question("Which word is on the sign?", world.sign.word, "read")
