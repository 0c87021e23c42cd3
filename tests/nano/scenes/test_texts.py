"""Questions of Scenes have the answers that the label maps give.

Sizes alone, which no label shows, are taken from the world.
"""

import re

import numpy as np
import pytest

from nano.scenes.questions import TYPES, answer_list
from nano.scenes.scene import Scene, render_scene
from nano.scenes.vocabulary import DETECTION_CLASSES

SCENES = [render_scene([4, 0, index], long_side=128) for index in range(60)]


class Facts:
    """What the labels of a scene show."""

    def __init__(self, scene: Scene):
        self.items = []  # name, size, x, nearness
        instance, depth = scene.labels.maps["obj_detection"], scene.labels.maps["depth"]
        for key, index in scene.labels.sidecars["obj_detection"].items():
            mask = instance == int(key)
            size = getattr(scene.world.objects[int(key)], "size", None)
            x = np.nonzero(mask)[1].mean() / mask.shape[1]
            self.items.append((DETECTION_CLASSES[index], size, x, depth[mask].mean()))
        words = scene.labels.sidecars.get("ocr_detection")
        self.word = words["0"]["text"] if words else None

    def find(self, name: str) -> list:
        """Items of a name such as 'red cube', 'small red cube', 'cube', 'red solid', 'sign'."""
        tokens = [token for token in name.removesuffix("s").split() if token != "solid"]
        return [
            item
            for item in self.items
            if all(token in (*item[0].split(), item[1]) for token in tokens) and (item[0] != "sign" or name == "sign")
        ]

    def one(self, name: str) -> tuple:
        (item,) = self.find(name)
        return item


def answer(facts: Facts, question: str) -> str:
    """Answers a question from the labels."""
    if found := re.fullmatch(r"How many (.+) are there\?", question):
        return str(len(facts.find(found[1])))
    if found := re.fullmatch(r"What color is the (.+)\?", question):
        return facts.one(found[1])[0].split()[0]
    if found := re.fullmatch(r"What shape is the (.+)\?", question):
        return facts.one(found[1])[0].split()[1]
    if found := re.fullmatch(r"Is the (.+) small or large\?", question):
        return facts.one(found[1])[1]
    if found := re.fullmatch(r"Is the (.+) to the left or to the right of the (.+)\?", question):
        return "left" if facts.one(found[1])[2] < facts.one(found[2])[2] else "right"
    if found := re.fullmatch(r"Is the (.+) to the (left|right) of the (.+)\?", question):
        is_left = facts.one(found[1])[2] < facts.one(found[3])[2]
        return "yes" if is_left == (found[2] == "left") else "no"
    if found := re.fullmatch(r"Is the (.+) in front of or behind the (.+)\?", question):
        return "in front" if facts.one(found[1])[3] > facts.one(found[2])[3] else "behind"
    if found := re.fullmatch(r"Which solid is the farthest to the (left|right)\?", question):
        choose = min if found[1] == "left" else max
        return choose(facts.find("solid"), key=lambda item: item[2])[0]
    if found := re.fullmatch(r"Is there a (.+)\?", question):
        return "yes" if facts.find(found[1]) else "no"
    assert question in ("What does the sign say?", "Which word is on the sign?")
    return facts.word


@pytest.mark.parametrize("index", range(len(SCENES)))
def test_answers_hold(index):
    scene = SCENES[index]
    facts = Facts(scene)
    assert len({question.question for question in scene.questions}) == 10
    for question in scene.questions:
        assert answer(facts, question.question) == question.answer, question
        assert question.answer in answer_list()
        assert question.type in TYPES


def test_every_type_is_asked_and_yes_is_not_the_only_answer():
    questions = [question for scene in SCENES for question in scene.questions]
    assert {question.type for question in questions} == set(TYPES)
    assert len(set(answer_list())) == len(answer_list())
    answers = [question.answer for question in questions if question.answer in ("yes", "no")]
    assert 0.3 < answers.count("yes") / len(answers) < 0.7
