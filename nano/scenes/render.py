"""Renders a world: its image, and the maps for its labels."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nano.scenes.geometry import GROUND, SKY, trace
from nano.scenes.vocabulary import COLOURS
from nano.scenes.world import Sign, World

SUPERSAMPLING = 2  # rays per side of a pixel
_FONT_SIZE = 44


@dataclass(frozen=True)
class Render:
    """Maps of a rendered world at SUPERSAMPLING times the image's size (height h, width w).

    Attributes:
        image: uint8 (h / 2, w / 2, 3).
        depth: camera depth (h, w), inf in the sky.
        normal: world normals (3, h, w), 0 in the sky.
        thing: index into the world's objects, GROUND or SKY, int8 (h, w).
        ink: coverage by the word's ink, 0..1 (h, w).
        word: whether the point is in the word's rectangle (h, w).
    """

    image: np.ndarray
    depth: np.ndarray
    normal: np.ndarray
    thing: np.ndarray
    ink: np.ndarray
    word: np.ndarray


@lru_cache(maxsize=64)
def word_texture(word: str) -> np.ndarray:
    """The word in bold capitals, cropped to its ink with a thin margin; float (height, width), 1 is ink."""
    font = ImageFont.load_default(_FONT_SIZE)
    letters = []
    for letter in word.upper():
        canvas = Image.new("L", (2 * _FONT_SIZE, 2 * _FONT_SIZE))
        ImageDraw.Draw(canvas).text((20, 20), letter, fill=255, font=font, stroke_width=2)
        box = canvas.getbbox()
        letters.append(canvas.crop((box[0], 0, box[2], canvas.height)))
    gap = _FONT_SIZE // 6
    width = sum(letter.width + gap for letter in letters) + gap
    line = Image.new("L", (width, 2 * _FONT_SIZE))
    x = gap
    for letter in letters:
        line.paste(letter, (x, 0))
        x += letter.width + gap
    top, bottom = line.getbbox()[1], line.getbbox()[3]
    line = line.crop((0, top - 2, width, bottom + 2))
    return np.asarray(line, np.float32) / 255


def render(world: World) -> Render:
    """Casts the rays of a world, shades their hits and averages them into pixels."""
    camera = world.camera
    parts = [(index, body) for index, thing in enumerate(world.objects) for body in thing.primitives]
    bodies = [body for _, body in parts]
    columns, rows = (side * SUPERSAMPLING for side in camera.size)
    seen = trace(camera, bodies, *camera.grid(columns, rows))
    things = np.array([*(index for index, _ in parts), SKY, GROUND], np.int8)[seen.owner]
    reach = np.where(seen.owner == SKY, np.float32(0), seen.depth)
    points = camera.position.astype(np.float32)[:, None, None] + reach * seen.rays
    normal = np.zeros_like(points)
    normal[2, seen.owner == GROUND] = 1
    for index, body in enumerate(bodies):
        mask = seen.owner == index
        normal[:, mask] = body.normal(points[:, mask])

    albedo = _albedo(world, points, things)
    ink, word = np.zeros_like(reach), np.zeros(reach.shape, bool)
    for index, body in enumerate(bodies):
        thing = world.objects[parts[index][0]]
        if isinstance(thing, Sign) and body == thing.primitives[0]:
            mask = seen.owner == index
            word[mask], ink[mask] = _lettering(thing, body.local(points[:, mask]))
            albedo[mask] += ink[mask][:, None] * (_linear(thing.ink) - _linear(thing.board))

    light = _light(world, bodies, seen, points, normal, parts)
    colour = albedo * light[..., None]
    colour += _highlights(world, things, seen.rays, normal, light)[..., None]
    haze = np.clip((seen.depth - 12) / 40, 0, 1) ** 0.7
    haze[things >= 0] = 0
    sky = _sky(world, seen.rays)
    colour += haze[..., None] * (sky - colour)
    blocks = colour.reshape(rows // SUPERSAMPLING, SUPERSAMPLING, -1, SUPERSAMPLING, 3)  # [h, 2, w, 2, 3]
    image = np.sqrt(np.clip(blocks.mean((1, 3)), 0, 1)) * 255
    return Render((image + 0.5).astype(np.uint8), seen.depth, normal, things, ink, word)


def _linear(colour) -> np.ndarray:
    """A display colour 0..255 as light, with a gamma of 2."""
    return (np.asarray(colour, np.float32) / 255) ** 2


def _sky(world, rays) -> np.ndarray:
    """Colour of the sky in each direction, (h, w, 3)."""
    up = np.clip(rays[2] * 2.5, 0, 1)[..., None]
    return _linear(world.horizon) + up * (_linear(world.zenith) - _linear(world.horizon))


def _albedo(world, points, things) -> np.ndarray:
    """Colour of each point's surface, (h, w, 3)."""
    palette = [_linear(COLOURS[t.colour] if hasattr(t, "colour") else t.board) for t in world.objects]
    ground = _linear(world.ground)
    albedo = np.stack([*palette, ground, ground])[things]
    if world.pattern != "plain":
        dark = np.floor(points[0] / world.tile).astype(np.int32)
        if world.pattern == "checkered":
            dark += np.floor(points[1] / world.tile).astype(np.int32)
        albedo[(things == GROUND) & (dark % 2 == 0)] *= np.float32(0.62)
    return albedo


def _lettering(sign, local) -> tuple[np.ndarray, np.ndarray]:
    """For points (3, n) of the board: whether they are in the word's rectangle, and their ink."""
    half_width, half_height = sign.text_half
    inside = (np.abs(local[0]) < half_width) & (np.abs(local[2]) < half_height) & (local[1] < -0.04)
    texture = word_texture(sign.word)
    height, width = texture.shape
    u = np.clip((local[0] / half_width + 1) / 2 * width - 0.5, 0, width - 1.001)
    v = np.clip((1 - local[2] / half_height) / 2 * height - 0.5, 0, height - 1.001)
    i, j = v.astype(np.int32), u.astype(np.int32)
    fv, fu = v - i, u - j
    top = texture[i, j] * (1 - fu) + texture[i, j + 1] * fu
    bottom = texture[i + 1, j] * (1 - fu) + texture[i + 1, j + 1] * fu
    return inside, np.where(inside, top * (1 - fv) + bottom * fv, 0)


def _light(world, bodies, seen, points, normal, parts) -> np.ndarray:
    """Light on each point (h, w): of the sun, where no body blocks it, and of the sky."""
    sun = np.asarray(world.light, np.float32)
    facing = np.einsum("c,chw->hw", sun, normal)
    side = np.cross(sun, [0.0, 0.0, 1.0]).astype(np.float32)
    side /= np.linalg.norm(side)
    across = np.stack([side, np.cross(sun, side)]).astype(np.float32)  # [2, 3]
    flat = np.einsum("kc,chw->khw", across, points)  # the points seen from the sun
    open_sky = np.where(normal[2] > 0.99, np.float32(1), 0.72 + 0.28 * normal[2])
    lit = facing > 0
    for index, body in enumerate(bodies):
        centre = across @ np.asarray(body.centre, np.float32)
        near = (flat[0] - centre[0]) ** 2 + (flat[1] - centre[1]) ** 2 < body.radius**2
        near &= lit & (seen.owner != index)
        rows, columns = np.nonzero(near)
        blocked = np.isfinite(body.hit(points[:, rows, columns], sun[:, None]))
        lit[rows[blocked], columns[blocked]] = False
        if world.objects[parts[index][0]].shape != "sign":  # the ground near a solid sees less of the sky
            away = np.hypot(points[0] - body.centre[0], points[1] - body.centre[1]) / body.half[0]
            open_sky *= np.where(seen.owner == GROUND, 1 - 0.5 * np.clip(1.6 - away, 0, 1) ** 2, 1)
    return world.ambient * open_sky + world.sun * np.where(lit, facing, 0)


def _highlights(world, things, rays, normal, light) -> np.ndarray:
    """The sun's reflection on the solids, (h, w)."""
    result = np.zeros_like(light)
    shiny = [index for index, thing in enumerate(world.objects) if thing.shape != "sign"]
    mask = np.isin(things, shiny) & (light > world.ambient * 1.05)
    view = -rays[:, mask] / np.linalg.norm(rays[:, mask], axis=0)
    half = view + np.asarray(world.light, np.float32)[:, None]
    half /= np.linalg.norm(half, axis=0)
    result[mask] = 0.35 * np.clip((half * normal[:, mask]).sum(0), 0, 1) ** 40
    return result
