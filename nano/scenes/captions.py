"""Reference captions of a world: true, detailed, and moderately varied."""

from dataclasses import dataclass

import numpy as np

from nano.scenes.vocabulary import NUMBERS
from nano.scenes.world import Sign, Solid, World

CAPTIONS_PER_SCENE = 5
# Beyond these margins one object is clearly beside or behind another.
SIDE_MARGIN, DEPTH_MARGIN = 0.14, 1.0  # share of the image's width, world units


@dataclass(frozen=True)
class Group:
    """Objects under one phrase: solids of one colour and shape, or the sign."""

    members: tuple[Solid | Sign, ...]
    phrase: str


def make_captions(world: World, rng: np.random.Generator) -> list[str]:
    """Five different captions of a scene, which read well after 'A picture of'."""
    captions: list[str] = []
    while len(captions) < CAPTIONS_PER_SCENE:
        groups = _groups(world, rng)
        if world.sign:
            forms = _with_sign(world, groups, rng)
        elif len(groups) > 1:
            forms = _without_sign(world, groups, rng)
        else:
            forms = _alone(world, groups[0], rng)
        sentence = str(rng.choice(forms))
        if sentence not in captions and 8 <= len(sentence.split()) <= 25:
            captions.append(sentence)
    return captions


def _groups(world, rng) -> list[Group]:
    """Groups of solids, the most salient first."""
    members: dict[str, list[Solid]] = {}
    for solid in world.solids:
        members.setdefault(solid.name, []).append(solid)
    with_size = rng.random() < 0.35
    groups = [Group(tuple(solids), _phrase(solids, with_size)) for solids in members.values()]
    return sorted(groups, key=lambda group: -sum(thing.view.area for thing in group.members))


def _phrase(solids, with_size) -> str:
    """'a red cube', 'two large red cubes'; the size only if all have it."""
    name = solids[0].name
    if with_size and len({solid.size for solid in solids}) == 1:
        name = f"{solids[0].size} {name}"
    return f"a {name}" if len(solids) == 1 else f"{NUMBERS[len(solids)]} {name}s"


def _list(groups) -> str:
    phrases = [group.phrase for group in groups]
    return " and ".join(filter(None, [", ".join(phrases[:-1]), phrases[-1]]))


def _relation(one, two, rng) -> str:
    """A relation that clearly holds between all members of two groups, or nearness."""
    pairs = [(a.view, b.view) for a in one.members for b in two.members]
    found = []
    aside = [b.x - a.x for a, b in pairs]
    ahead = [b.depth - a.depth for a, b in pairs]
    if min(aside) > SIDE_MARGIN:
        found.append("to the left of")
    if max(aside) < -SIDE_MARGIN:
        found.append("to the right of")
    if max(map(abs, aside)) < 2.5 * SIDE_MARGIN:
        if min(ahead) > DEPTH_MARGIN:
            found.append("in front of")
        if max(ahead) < -DEPTH_MARGIN:
            found.append("behind")
    if not found:
        return str(rng.choice(["next to", "near"]))
    return found[0] if len(found) == 1 or rng.random() < 0.6 else found[1]


def _place(group) -> str | None:
    """The part of the image that holds all of a group."""
    x = [thing.view.x for thing in group.members]
    if max(x) < 0.36:
        return "on the left"
    if min(x) > 0.64:
        return "on the right"
    if min(x) > 0.42 and max(x) < 0.58:
        return "in the middle"
    return None


def _count(world) -> str:
    shapes = {solid.shape for solid in world.solids}
    noun = shapes.pop() if len(shapes) == 1 else "solid"
    return f"{NUMBERS[len(world.solids)]} {noun}s"


def _floor(world, rng) -> str:
    return f"on a {world.pattern} {rng.choice(['floor', 'ground'])}"


def _without_sign(world, groups, rng) -> list[str]:
    floor = _floor(world, rng)
    first, second, rest = groups[0], groups[1], groups[2:4]
    tail = f"with {_list(rest)} nearby" if rest else floor
    places = [_place(first), _place(second)]
    forms = [
        f"{_list(groups[:4])} {floor}",
        f"{_list(groups[:4])} {floor}",
        f"{first.phrase} {_relation(first, second, rng)} {second.phrase} {tail}",
        f"{first.phrase} {_relation(first, second, rng)} {second.phrase} {tail}",
        f"{second.phrase} {_relation(second, first, rng)} {first.phrase} {tail}",
        f"{first.phrase} next to {_list(groups[1:4])}",
        f"{_count(world)} {floor} {'including' if rest else 'which are'} {_list([first, second])}",
        f"a group of {_count(world)} with {first.phrase} {_relation(first, second, rng)} {second.phrase}",
    ]
    if all(places) and places[0] != places[1]:
        forms.append(f"{first.phrase} {places[0]} and {second.phrase} {places[1]} {tail}")
    return forms


def _alone(world, group, rng) -> list[str]:
    """Forms for a scene of equal solids."""
    floor, place = _floor(world, rng), _place(group)
    phrase = _phrase(group.members, with_size=rng.random() < 0.5)
    forms = [
        f"{phrase} {floor} and nothing else",
        f"{phrase} standing alone {floor}",
        f"{phrase} {floor} with no other solids",
        f"{phrase} {floor} with nothing around",
    ]
    if place:
        forms += [f"{phrase} {place} {floor}", f"{phrase} {place} and nothing else {floor}"]
    return forms


def _with_sign(world, groups, rng) -> list[str]:
    says = rng.choice(["that says", "that says", "reading", "with the word"])
    sign = Group((world.sign,), f"a sign {says} {world.sign.word}")
    floor = _floor(world, rng)
    first, rest = groups[0], groups[1:3]
    tail = f"with {_list(rest)} nearby" if rest else floor
    forms = [
        f"{_list(groups[:3])} next to {sign.phrase}",
        f"{_list([*groups[:3], sign])} {floor}",
        f"{sign.phrase} next to {_list(groups[:3])}",
        f"{_list([sign, *groups[:3]])} {floor}",
        f"{first.phrase} {_relation(first, sign, rng)} {sign.phrase} {tail}",
        f"{first.phrase} {_relation(first, sign, rng)} {sign.phrase} {tail}",
        f"{sign.phrase} {_relation(sign, first, rng)} {first.phrase} {tail}",
    ]
    if len(groups) > 1:
        forms.append(f"{sign.phrase} and {_count(world)} including {first.phrase}")
    return forms
