"""What a scene is made of, and how one is drawn at random."""

from dataclasses import dataclass, replace

import numpy as np

from nano.scenes.geometry import Camera, Primitive, trace
from nano.scenes.vocabulary import COLOURS, PATTERNS, SHAPES, SIZES, WORDS

ASPECTS = ((4, 3), (1, 1), (3, 4))
LETTER_WIDTH = 0.82  # of a capital letter with its spacing, in letter heights
_BOARDS = (  # board and ink
    ((245, 243, 236), (20, 20, 24)),
    ((240, 226, 170), (30, 24, 20)),
    ((205, 225, 240), (16, 30, 70)),
    ((26, 44, 92), (245, 245, 245)),
    ((110, 20, 26), (250, 244, 235)),
    ((22, 72, 44), (245, 248, 240)),
)
_GROUNDS = ((150, 140, 124), (128, 134, 142), (172, 164, 150), (120, 126, 108), (164, 144, 134), (104, 104, 112))
_SKIES = (  # horizon and zenith
    ((214, 226, 236), (120, 160, 208)),
    ((236, 222, 208), (150, 156, 186)),
    ((222, 222, 222), (168, 174, 180)),
    ((240, 206, 180), (126, 120, 160)),
    ((190, 200, 206), (84, 100, 128)),
)
_HALF_EXTENTS = {  # of a solid of scale 1
    "sphere": (1.0, 1.0, 1.0),
    "cube": (0.82, 0.82, 0.82),
    "cylinder": (0.74, 0.74, 0.98),
    "cone": (0.95, 0.95, 1.1),
}


@dataclass(frozen=True)
class View:
    """How an object appears in the image.

    Attributes:
        area: visible share of the image.
        x: centre of its visible part, 0 (left) to 1 (right).
        depth: camera depth of its centre.
    """

    area: float
    x: float
    depth: float


@dataclass(frozen=True)
class Solid:
    """A solid on the ground."""

    shape: str
    colour: str
    size: str
    place: tuple[float, float]
    yaw: float
    view: View | None = None

    @property
    def name(self) -> str:
        """Its detection class."""
        return f"{self.colour} {self.shape}"

    @property
    def footprint(self) -> float:
        """Radius of the ground it needs."""
        half = self.primitives[0].half
        return half[0] * (2**0.5 if self.shape == "cube" else 1.0)

    @property
    def primitives(self) -> list[Primitive]:
        """Its body."""
        half = tuple(SIZES[self.size] * extent for extent in _HALF_EXTENTS[self.shape])
        return [Primitive(self.shape, (*self.place, half[2]), half, self.yaw)]


@dataclass(frozen=True)
class Sign:
    """A board with a word, on a post or standing on the ground; its front faces local -y.

    Attributes:
        letter: height of a capital letter.
        bottom: height of the board's lower edge.
        board, ink: colours.
    """

    word: str
    letter: float
    bottom: float
    place: tuple[float, float]
    yaw: float
    board: tuple[int, int, int]
    ink: tuple[int, int, int]
    view: View | None = None

    name = shape = "sign"

    @property
    def text_half(self) -> tuple[float, float]:
        """Half width and half height of the word's rectangle."""
        return self.letter * LETTER_WIDTH * len(self.word) / 2, self.letter * 0.56

    @property
    def footprint(self) -> float:
        """Radius of the ground it needs."""
        return self.text_half[0] + self.letter * 0.3

    @property
    def primitives(self) -> list[Primitive]:
        """The board, then the post."""
        width, height = (half + self.letter * 0.26 for half in self.text_half)
        middle = self.bottom + height
        s, c = np.sin(self.yaw), np.cos(self.yaw)
        behind = (self.place[0] - 0.12 * s, self.place[1] + 0.12 * c)
        post = Primitive("cube", (*behind, middle / 2), (0.07, 0.06, middle / 2), self.yaw)
        return [Primitive("cube", (*self.place, middle), (width, 0.05, height), self.yaw), post]

    @property
    def text_plate(self) -> Primitive:
        """A thin box over the word."""
        half_width, half_height = self.text_half
        return Primitive("cube", self.primitives[0].centre, (half_width, 0.06, half_height), self.yaw)


@dataclass(frozen=True)
class World:
    """A scene: everything that the image, the labels and the texts are made of.

    Attributes:
        objects: solids and sign, most salient (largest in the image) first; an index is an instance id.
        light: unit vector to the sun.
        sun, ambient: strengths of the light.
        ground, horizon, zenith: colours, 0..255.
        pattern: of the floor.
        tile: width of a tile or stripe.
    """

    camera: Camera
    objects: tuple[Solid | Sign, ...]
    light: tuple[float, float, float]
    sun: float
    ambient: float
    ground: tuple[int, int, int]
    horizon: tuple[int, int, int]
    zenith: tuple[int, int, int]
    pattern: str
    tile: float

    @property
    def solids(self) -> list[Solid]:
        """The solids, most salient first."""
        return [thing for thing in self.objects if isinstance(thing, Solid)]

    @property
    def sign(self) -> Sign | None:
        """The sign, if there is one."""
        return next((thing for thing in self.objects if isinstance(thing, Sign)), None)


def sample_world(rng: np.random.Generator, long_side: int, only: tuple[str, str] | None = None) -> World:
    """Draws a scene whose objects do not intersect and are each mostly visible.

    Args:
        rng: source of all random numbers.
        long_side: of the image, in pixels.
        only: shape and colour of the only solid, in a scene without a sign; None draws up to six, and signs.
    """
    aspect = ASPECTS[rng.integers(len(ASPECTS))]
    size = tuple(round(long_side * side / max(aspect)) for side in aspect)
    word = str(rng.choice(WORDS)) if rng.random() < 0.5 else None
    kinds = _sample_kinds(rng, int(rng.integers(1, 7)))
    if only is not None:
        word, kinds = None, [(*only, kinds[0][2])]
    attempts, viewed = 0, None
    while not viewed:
        camera = _sample_camera(rng, size)
        objects = _sample_objects(rng, camera, kinds, word)
        viewed = _viewed(camera, objects) if objects else None
        attempts += 1
        if attempts % 40 == 0 and len(kinds) > 1:  # too crowded for this view
            kinds = kinds[:-1]
    elevation, turn = rng.uniform(0.55, 1.15), rng.uniform(-1.9, 1.9) + camera.azimuth + np.pi
    light = (np.cos(elevation) * np.cos(turn), np.cos(elevation) * np.sin(turn), np.sin(elevation))
    horizon, zenith = _SKIES[rng.integers(len(_SKIES))]
    return World(
        camera,
        tuple(sorted(viewed, key=lambda thing: -thing.view.area)),
        tuple(float(value) for value in light),
        sun=float(rng.uniform(0.75, 1.0)),
        ambient=float(rng.uniform(0.32, 0.48)),
        ground=_GROUNDS[rng.integers(len(_GROUNDS))],
        horizon=horizon,
        zenith=zenith,
        pattern=str(rng.choice(PATTERNS)),
        tile=float(rng.uniform(0.9, 1.6)),
    )


def _sample_kinds(rng, count) -> list[tuple[str, str, str]]:
    """(shape, colour, size) of each solid; some are equal, so that there is something to count."""
    kinds = []
    for _ in range(count):
        if kinds and rng.random() < 0.3:
            kinds.append(kinds[rng.integers(len(kinds))])
        else:
            kinds.append(tuple(str(rng.choice(list(names))) for names in (SHAPES, COLOURS, SIZES)))
    return kinds


def _sample_camera(rng, size) -> Camera:
    height = rng.uniform(1.5, 3.8)
    pitch = np.arctan2(height - rng.uniform(0.6, 1.2), 6.8)
    return Camera(height, rng.uniform(0, 2 * np.pi), pitch, rng.uniform(1.1, 1.3), size)


def _sample_objects(rng, camera, kinds, word) -> list[Solid | Sign] | None:
    objects = []
    half_width = camera.extent[0]
    if word:
        distance = rng.uniform(5.5, 9.0)
        letter = rng.uniform(0.085, 0.115) * distance / camera.focal
        room = half_width * distance - letter * (LETTER_WIDTH * len(word) / 2 + 0.4)
        lateral = rng.uniform(-1, 1) * max(room, 0)
        yaw = camera.azimuth - np.pi / 2 + rng.uniform(-0.4, 0.4)
        bottom = 0.02 if rng.random() < 0.25 else rng.uniform(0.5, 1.3)
        board, ink = _BOARDS[rng.integers(len(_BOARDS))]
        place = camera.on_ground(distance, lateral)
        objects.append(Sign(word, letter, bottom, place, yaw, board, ink))
    for shape, colour, size in kinds:
        for _ in range(12):
            distance = rng.uniform(4.4, 10.0)
            lateral = rng.uniform(-1, 1) * max(half_width * distance - SIZES[size], 0.1)
            solid = Solid(shape, colour, size, camera.on_ground(distance, lateral), rng.uniform(0, np.pi / 2))
            if all(
                np.hypot(solid.place[0] - other.place[0], solid.place[1] - other.place[1])
                > solid.footprint + other.footprint + 0.12
                for other in objects
            ):
                objects.append(solid)
                break
        else:
            return None
    return objects


def _viewed(camera, objects) -> list[Solid | Sign] | None:
    """The objects with their views, from a coarse picture with a margin; None if one is too hidden."""
    pad, cells = 1.3, 96
    columns, rows = (round(cells * side / max(camera.size)) for side in camera.size)
    x, y = camera.grid(columns, rows, pad)
    primitives = [primitive for thing in objects for primitive in thing.primitives[:1]]
    rest = [body for t in objects if isinstance(t, Sign) for body in (t.text_plate, t.primitives[1])]
    seen = trace(camera, primitives + rest, x, y)
    inside = (np.abs(x) < camera.extent[0]) & (np.abs(y) < camera.extent[1])[:, None]
    frame = inside.sum()
    viewed = []
    for index, thing in enumerate(objects):
        mask = (seen.owner == index) & inside
        if isinstance(thing, Sign):
            plate = (seen.owner == len(primitives)) & inside
            if plate.sum() < 0.985 * seen.full[len(primitives)]:
                return None
            mask |= plate
        count = mask.sum()
        if count < max(0.55 * seen.full[index], 0.007 * frame):
            return None
        centre = float(x[np.nonzero(mask)[1]].mean() / camera.extent[0] + 1) / 2
        depth = float(camera.project(np.array([thing.primitives[0].centre]))[0, 2])
        viewed.append(replace(thing, view=View(float(count / frame), centre, depth)))
    return viewed
