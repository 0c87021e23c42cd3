"""The exact labels of a rendered world, in the layout of the experts."""

from dataclasses import dataclass

import numpy as np

from model.modalities import BACKGROUND
from nano.scenes.geometry import GROUND, SKY
from nano.scenes.render import SUPERSAMPLING, Render
from nano.scenes.vocabulary import DETECTION_CLASSES, SCENES_CLASSES, embed
from nano.scenes.world import World


@dataclass(frozen=True)
class Labels:
    """Labels of one image (height h, width w).

    Attributes:
        maps: modality -> uint8 (h, w), normal (h, w, 3); without a word no `ocr_detection`.
        sidecars: modality -> content of the JSON file beside its map; ids are strings.
    """

    maps: dict[str, np.ndarray]
    sidecars: dict[str, dict]


def make_labels(world: World, render: Render) -> Labels:
    """All six labels of a world.

    Maps of ids and quantities take the upper left ray of each pixel; edges use all rays.
    """
    step = slice(None, None, SUPERSAMPLING)
    thing = render.thing[step, step]
    names = [*(SCENES_CLASSES.index(t.shape) for t in world.objects), 0, 1]  # then SKY (-2), GROUND (-1)
    maps = {
        "depth": _depth(render.depth[step, step]),
        "normal": _normal(world, render.normal[:, step, step], thing),
        "seg_scenes": np.array(names, np.uint8)[thing],
        "edge": _edge(render),
        "obj_detection": np.where(thing < 0, np.uint8(BACKGROUND), thing.astype(np.uint8)),
    }
    sidecars = {"obj_detection": {str(i): DETECTION_CLASSES.index(t.name) for i, t in enumerate(world.objects)}}
    if world.sign:
        maps["ocr_detection"] = np.where(render.word[step, step], 0, BACKGROUND).astype(np.uint8)
        word = world.sign.word
        sidecars["ocr_detection"] = {"0": {"text": word, "features": embed(word).tolist()}}
    return Labels(maps, sidecars)


def _depth(depth) -> np.ndarray:
    """Inverse depth scaled to 0..255: the nearest point is 255, the farthest (the sky) 0."""
    inverse = 1 / depth
    low, high = inverse.min(), inverse.max()
    return ((inverse - low) / max(high - low, 1e-12) * 255 + 0.5).astype(np.uint8)


def _normal(world, normal, thing) -> np.ndarray:
    """Normals in camera space: x right, y up, z towards the camera; the sky faces the camera."""
    right, up, forward = world.camera.axes.astype(np.float32)
    local = np.einsum("kc,chw->hwk", np.stack([right, up, -forward]), normal)
    local[thing == SKY] = (0, 0, 1)
    return ((local + 1) * 127.5 + 0.5).astype(np.uint8)


def _edge(render) -> np.ndarray:
    """Inverted strength of edges (dark lines): outlines, creases, lettering; no shadows, no floor pattern."""
    inverse = np.where(render.thing == SKY, 0, 1 / render.depth)
    strength = np.zeros(render.thing.shape, np.float32)
    for axis in (0, 1):
        one, two = (
            tuple(part if i == axis else slice(None) for i in range(2)) for part in (slice(None, -1), slice(1, None))
        )
        thing = render.thing
        far = (thing[one] < 0) & (thing[two] < 0)
        change = np.where(far, 0.7, 1.0) * (thing[one] != thing[two])  # the horizon is weaker
        crease = 1 - (render.normal[(slice(None), *one)] * render.normal[(slice(None), *two)]).sum(0)
        crease = np.clip((crease - 0.08) * 2, 0, 0.9) * (thing[one] == thing[two]) * (thing[one] >= 0)
        nearer = np.maximum(inverse[one], inverse[two])
        jump = np.abs(inverse[one] - inverse[two]) > 0.12 * nearer
        jump = 0.8 * (jump & (thing[one] == thing[two]) & (thing[one] != GROUND))
        lettering = 0.8 * np.abs(render.ink[one] - render.ink[two])
        found = np.maximum(np.maximum(change, crease), np.maximum(jump, lettering))
        strength[one] = np.maximum(strength[one], found)
        strength[two] = np.maximum(strength[two], found)
    height, width = (side // SUPERSAMPLING for side in strength.shape)
    soft = strength.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING).mean((1, 3))
    padded = np.pad(soft, 1, mode="edge")
    soft = (2 * padded[1:-1] + padded[:-2] + padded[2:]) / 4  # [h, w + 2]
    soft = (2 * soft[:, 1:-1] + soft[:, :-2] + soft[:, 2:]) / 4
    return (255.5 - 255 * soft / max(soft.max(), 1e-6)).astype(np.uint8)
