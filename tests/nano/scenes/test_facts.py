"""The claims of captions are judged by the content of their scenes."""

import json

import pytest

from common.errors import UserError
from nano.scenes.facts import KINDS, check, read_captions, score, table
from nano.scenes.geometry import Camera
from nano.scenes.scene import describe_scene
from nano.scenes.world import Sign, Solid, View, World


def solid(colour: str, shape: str, size: str, x: float, depth: float) -> Solid:
    return Solid(shape, colour, size, (0, 0), 0, View(0.05, x, depth))


SIGN = Sign("bread", 1, 1, (0, 0), 0, (0, 0, 0), (0, 0, 0), View(0.05, 0.5, 6))
WORLD = World(
    Camera(2, 0, 0, 1, (8, 8)),
    (
        solid("red", "cube", "large", 0.2, 5),
        solid("red", "cube", "large", 0.3, 7),
        solid("blue", "cone", "small", 0.8, 6.5),
        SIGN,
    ),
    (0, 0, 1),
    *(1, 1),
    *((0, 0, 0),) * 3,
    "striped",
    1,
)


@pytest.mark.parametrize(
    ("caption", "right", "wrong"),
    [
        ("A sign that says bread next to two red cubes.", "sign word object count", ""),
        ("a sign reading shop and three solids including a blue cone", "sign count object count", "word"),
        ("a red cube on a striped floor", "object floor", "count"),
        ("a green cube behind a sign with the word bread", "sign word", "object count relation"),
        ("two large red cubes to the left of a blue cone", "object count size relation object count", ""),
        ("two small red cubes to the right of a sign", "object count sign", "size relation"),
        ("a blue cone on a plain ground", "object count", "floor"),
        ("a blue cone on the left and a sign", "object count sign", "place"),
        ("two cubes and a blue cone near a sign reading bread", "count object count sign word", ""),
        ("two red cubes in front of a blue cone", "object count object count", "relation"),
    ],
)
def test_claims(caption, right, wrong):
    claims = check(caption, WORLD)
    assert sorted(kind for kind, holds in claims if holds) == sorted(right.split())
    assert sorted(kind for kind, holds in claims if not holds) == sorted(wrong.split())


def test_references_are_right():
    scenes = [describe_scene([8, 1, index]) for index in range(60)]
    scores = score((caption, world) for world, captions, _ in scenes for caption in captions)
    assert {*KINDS, "read", "caption"} == scores.keys()
    assert all(row["right"] == row["of"] > 0 for row in scores.values())
    for world, captions, _ in scenes:
        assert len(set(captions)) == 5
        for caption in captions:
            assert 8 <= len(caption.split()) <= 25
            assert caption == caption.lower()
            assert {"object", "sign"} & {kind for kind, _ in check(caption, world)}


def test_a_caption_without_the_word_of_the_sign_counts_as_not_read():
    scores = score([("a blue cone on a plain floor", WORLD), ("a sign that says bread near a blue cone", WORLD)])
    assert scores["read"] == {"right": 1, "of": 2}
    assert scores["caption"] == {"right": 1, "of": 2}
    assert "read" in table(scores)


def test_results_are_matched_to_scenes(tmp_path):
    (tmp_path / "scenes.json").write_text(json.dumps({"seed": 8, "long_side": 64}))
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps([{"image_id": 1_000_003, "caption": "a red cube"}]))
    ((caption, world),) = read_captions(captions, tmp_path)
    assert (caption, world) == ("a red cube", describe_scene([8, 1, 3], 64)[0])
    captions.write_text("[{}]")
    with pytest.raises(UserError, match="captions"):
        read_captions(captions, tmp_path)
