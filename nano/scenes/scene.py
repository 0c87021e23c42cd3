"""A scene in memory: image, exact labels, captions, questions."""

from dataclasses import dataclass

import numpy as np

from nano.scenes.captions import make_captions
from nano.scenes.labels import Labels, make_labels
from nano.scenes.questions import Question, make_questions
from nano.scenes.render import render
from nano.scenes.world import World, sample_world

LONG_SIDE = 192

Seed = int | list[int]  # of np.random.SeedSequence; the data set uses [seed, split, index]


@dataclass(frozen=True)
class Scene:
    """A scene with an image, uint8 (h, w, 3), its labels, five captions and ten questions."""

    world: World
    image: np.ndarray
    labels: Labels
    captions: list[str]
    questions: list[Question]


def describe_scene(seed: Seed, long_side: int = LONG_SIDE) -> tuple[World, list[str], list[Question]]:
    """The world, captions and questions of a seed, without rendering."""
    world_seed, caption_seed, question_seed = np.random.SeedSequence(seed).spawn(3)
    world = sample_world(np.random.default_rng(world_seed), long_side)
    captions = make_captions(world, np.random.default_rng(caption_seed))
    return world, captions, make_questions(world, np.random.default_rng(question_seed))


def render_scene(seed: Seed, long_side: int = LONG_SIDE) -> Scene:
    """The scene of a seed; the same seed gives the same scene."""
    world, captions, questions = describe_scene(seed, long_side)
    rendered = render(world)
    return Scene(world, rendered.image, make_labels(world, rendered), captions, questions)
