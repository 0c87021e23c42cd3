"""The web demo without a browser: what changes on the page, whose image is whose, what stays on the disk."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from common.files import ROOT
from helpers.inference.captioner import Prediction
from helpers.web.actions import Actions, tile
from helpers.web.models import WebModels
from helpers.web.page import card, heading, message, note
from helpers.web.visitors import Visits

IMAGES = ROOT / "helpers" / "images"
CONE, CUBES = IMAGES / "blue_cone_bread_sign.jpeg", IMAGES / "red_cube_blue_cube.jpeg"
COLOR = "What color is the cone?"


@pytest.fixture(scope="module")
def models() -> WebModels:
    return WebModels("prismer_nano")


@pytest.fixture
def actions(models, tmp_path, monkeypatch) -> Actions:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return Actions(models, 1_000_000)


def look(actions: Actions, session: str, path: Path, chosen: tuple[str, ...]) -> dict[str, str]:
    page: dict[str, str] = {}
    for changes in actions.new_image(session, str(path), chosen, False):
        page |= changes
    return page


def test_labels_appear_one_by_one_then_the_captions(actions, models):
    steps = list(actions.new_image("me", str(CONE), models.experts, False))
    first, waits, *rest = steps
    assert first["answers"] == first["attribution"] == ""
    assert all("pr-wait" in waits[tile(name)] for name in models.experts)
    labelled, (_, last) = rest[:-2], rest[-2:]
    assert [set(step) for step in labelled] == [{tile(name)} for name in models.experts]
    assert all("data:image/" in html for step in labelled for html in step.values())
    assert "blue cone" in last["captions"]
    assert "PrismerZ" in last["captions"]
    assert last["captions"].count("score -") == 2


def test_an_expert_that_is_off_changes_the_caption(actions, models):
    look(actions, "me", CONE, models.experts)
    chosen = [name for name in models.experts if name != "ocr_detection"]
    changed = actions.new_caption("me", chosen, True)
    assert "Prismer without text" in changed["captions"]
    assert "a sign that says" in changed["captions"].split("pr-less")[0]
    assert "sign" not in changed["captions"].split("pr-less")[1].split("PrismerZ")[0]  # only text sees it
    assert "<mark>" in changed["captions"]
    assert "pr-off" in changed[tile("ocr_detection")]
    assert "pr-off" not in changed[tile("depth")]
    assert "data:image" in changed["attribution"]
    assert "pr-less" not in actions.new_caption("me", models.experts, False)["captions"]
    assert "pr-less" in actions.new_caption("me", [], False)["captions"]  # none at all


def test_questions_are_answered_about_ones_own_image(actions, models):
    look(actions, "me", CONE, models.experts)
    look(actions, "you", CUBES, models.experts)
    mine = actions.answer("me", COLOR, models.experts)["answers"]
    assert mine.count("blue") > 1
    assert mine.count("pr-bar") == 2 * 4
    assert actions.answer("you", COLOR, models.experts)["answers"] != mine
    assert actions.answer("me", COLOR, models.experts)["answers"] == mine
    assert "Choose an image first" in actions.answer("nobody", COLOR, models.experts)["answers"]
    assert "Type a question" in actions.answer("me", "  ", models.experts)["answers"]
    assert actions.new_caption("nobody", models.experts, False).keys() == {"captions"}


def test_two_at_once_do_not_mix(actions, models):
    """Step by step in turns, as far apart as it gets."""
    alone = [look(actions, name, path, models.experts) for name, path in (("a", CONE), ("b", CUBES))]
    pages: list[dict[str, str]] = [{}, {}]
    runs = [actions.new_image(name, str(path), models.experts, False) for name, path in (("c", CONE), ("d", CUBES))]
    for one, other in zip(*runs, strict=True):
        pages[0] |= one
        pages[1] |= other
    assert pages == alone
    assert pages[0] != pages[1]


def test_files_go_with_the_image(actions, models, tmp_path):
    look(actions, "me", CONE, models.experts)
    assert len(list(tmp_path.rglob("*.png"))) == 1 + len(models.experts)
    look(actions, "me", CUBES, models.experts)
    assert len(list(tmp_path.rglob("*.png"))) == 1 + len(models.experts)
    actions.forget("me")
    assert list(tmp_path.iterdir()) == []


def test_no_file_stays_of_a_visitor_who_leaves_during_labelling(actions, models, tmp_path):
    steps = actions.new_image("me", str(CONE), models.experts, False)
    for _ in range(4):
        next(steps)
    actions.forget("me")
    assert "blue cone" in list(steps)[-1]["captions"]  # it may finish
    del steps
    assert list(tmp_path.iterdir()) == []


def test_a_bad_file_is_a_message_and_the_old_image_is_gone(actions, models, tmp_path):
    look(actions, "me", CONE, models.experts)
    (tmp_path / "upload").write_bytes(b"<svg onload=alert(1)>")
    page = look(actions, "me", tmp_path / "upload", models.experts)
    assert "not an image" in page["captions"]
    assert "data:image" not in "".join(page.values())
    assert "Choose an image first" in actions.answer("me", COLOR, models.experts)["answers"]


def test_nothing_is_written_after_the_stop(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    models = WebModels("prismer_nano")
    actions = Actions(models, 1_000_000)
    look(actions, "you", CUBES, models.experts)
    steps = actions.new_image("me", str(CONE), models.experts, False)
    for _ in range(4):
        next(steps)
    written = {path.name for path in tmp_path.rglob("*")}
    models.stop()
    (last,) = steps
    assert "being stopped" in last["captions"]
    assert {path.name for path in tmp_path.rglob("*")} < written
    assert "Choose an image first" in actions.answer("me", COLOR, models.experts)["answers"]
    assert "being stopped" in actions.answer("you", COLOR, models.experts)["answers"]
    assert "being stopped" in actions.new_caption("you", [], False)["captions"]


def test_texts_are_escaped():
    found = Prediction("<b> a", -1.0, (("<i>&", -1.0),))
    html = card("me", found, full=Prediction("a", -1.0)) + note("<script>") + message("<a>")
    assert "<mark>&lt;b&gt;</mark> a" in html
    for tag in ("<script", "<b>", "<i>&", "<a>"):
        assert tag not in html


def test_the_oldest_visits_are_forgotten():
    visits = Visits(most=2)
    for session, value in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
        visits.open(session, Image.fromarray(np.full((5, 5, 3), value, np.uint8)))
    assert visits.find("b") is None
    assert visits.find("a").picture.getpixel((0, 0)) == (3, 3, 3)
    assert visits.find("c") is not None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("prismer_giant",), "no weights of experiment 'prismer_giant'"),
        (("prismer_nano", "nothing"), "no weights of experiment 'nothing'"),
        (("prismer_nano", None, "prismer_nano"), "prismer_nano has experts; name a PrismerZ"),
        (("prismerz_nano", "prismer_nano"), "prismer_nano answers with the expert 'depth', which the captioner lacks"),
    ],
)
def test_unsuitable_models_are_named(names, expected):
    with pytest.raises(UserError, match=expected):
        WebModels(*names)


def test_a_prismerz_can_be_shown_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    models = WebModels("prismerz_nano")
    assert (models.experts, models.captioner_z) == ((), None)
    head = heading(models.experts, models.weights, models.captioner.limits)
    assert "Weights: nano/caption_prismerz_nano, nano/vqa_prismerz_nano<" in head
    assert str(ROOT) not in head  # a visitor need not know
    page = look(Actions(models, 1_000_000), "me", CONE, ())
    assert page["captions"].count("pr-card ") == 1
