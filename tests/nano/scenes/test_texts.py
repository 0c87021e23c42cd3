"""Captions and questions of Scenes hold: each is parsed and checked against the label maps alone.

Only size and floor pattern, which no label tells, are taken from the world.
"""

import re

import numpy as np
import pytest

from nano.scenes.questions import TYPES, answer_list
from nano.scenes.scene import Scene, render_scene
from nano.scenes.vocabulary import COLOURS, DETECTION_CLASSES, PATTERNS, SHAPES, WORDS

SCENES = [render_scene([4, 0, index], long_side=128) for index in range(60)]
NUMBERS = {"a": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
GROUP = rf"(?:{'|'.join(NUMBERS)}) (?:small |large )?(?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})s?"
SIGN = rf"a sign (?:that says|reading|with the word) (?:{'|'.join(WORDS)})"
RELATION = r"(?:to the left of|to the right of|in front of|behind|next to|near)\b"
GLUE = {"and", "with", "nearby", "next", "to", "near", "nothing", "else", "standing", "alone", "around"}
GLUE |= {"no", "other", "solids", "which", "are", "including", "a", "group", "of"}


class Facts:
    """What the labels of a scene tell."""

    def __init__(self, scene: Scene):
        self.pattern = scene.world.pattern
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

    def holds(self, one: list, relation: str, two: list) -> bool:
        pairs = [(a, b) for a in one for b in two]
        if "left" in relation:
            return all(a[2] < b[2] - 0.08 for a, b in pairs)
        if "right" in relation:
            return all(a[2] > b[2] + 0.08 for a, b in pairs)
        if relation == "in front of":
            return all(a[3] > b[3] for a, b in pairs)
        if relation == "behind":
            return all(a[3] < b[3] for a, b in pairs)
        return True

    def group(self, phrase: str) -> list:
        """The items of a group phrase of a caption; its number is checked."""
        if phrase.startswith("a sign"):
            assert phrase.split()[-1] == self.word
            return self.find("sign")
        number, name = phrase.split(" ", 1)
        plain = re.sub("small |large ", "", name)
        assert len(self.find(plain)) == len(self.find(name)) == NUMBERS[number], phrase
        return self.find(name)


@pytest.mark.parametrize("index", range(len(SCENES)))
def test_captions_hold(index):
    scene = SCENES[index]
    facts = Facts(scene)
    assert len(set(scene.captions)) == 5
    for caption in scene.captions:
        assert 8 <= len(caption.split()) <= 25
        assert caption == caption.lower()
        groups = re.findall(f"{SIGN}|{GROUP}", caption)
        assert groups, caption
        for phrase in groups:
            facts.group(phrase)
        for one, relation, two in re.findall(f"({SIGN}|{GROUP}) ({RELATION}) (?=({SIGN}|{GROUP}))", caption):
            assert facts.holds(facts.group(one), relation, facts.group(two)), caption
        for phrase, where in re.findall(f"({GROUP}) (on the left|on the right|in the middle)", caption):
            low, high = {"on the left": (0, 0.4), "on the right": (0.6, 1), "in the middle": (0.38, 0.62)}[where]
            assert all(low < item[2] < high for item in facts.group(phrase)), caption
        for number, noun in re.findall(rf"(two|three|four|five|six) (solids|{'s|'.join(SHAPES)}s)\b", caption):
            assert len(facts.find("solid")) == NUMBERS[number], caption
            assert len(facts.find(noun)) == NUMBERS[number], caption
        for pattern in re.findall(f"on a ({'|'.join(PATTERNS)}) (?:floor|ground)", caption):
            assert pattern == facts.pattern
        rest = re.sub(f"{SIGN}|{GROUP}|{RELATION}|on the left|on the right|in the middle|,", " ", caption)
        rest = re.sub(rf"on a (?:{'|'.join(PATTERNS)}) (?:floor|ground)", " ", rest)
        rest = re.sub(rf"(?:two|three|four|five|six) (?:solids|{'s|'.join(SHAPES)}s)\b", " ", rest)
        assert set(rest.split()) <= GLUE, caption


def answer(facts: Facts, question: str) -> str:
    """Answers a question from the labels."""
    if found := re.fullmatch(r"How many (.+) are there\?", question):
        return str(len(facts.find(found[1])))
    if found := re.fullmatch(r"What color is the (.+)\?", question):
        (item,) = facts.find(found[1])
        return item[0].split()[0]
    if found := re.fullmatch(r"What shape is the (.+)\?", question):
        (item,) = facts.find(found[1])
        return item[0].split()[1]
    if found := re.fullmatch(r"Is the (.+) small or large\?", question):
        (item,) = facts.find(found[1])
        return item[1]
    if found := re.fullmatch(r"Is the (.+) to the left or to the right of the (.+)\?", question):
        return "left" if facts.holds(facts.find(found[1]), "left", facts.find(found[2])) else "right"
    if found := re.fullmatch(r"Is the (.+) to the (left|right) of the (.+)\?", question):
        return "yes" if facts.holds(facts.find(found[1]), found[2], facts.find(found[3])) else "no"
    if found := re.fullmatch(r"Is the (.+) in front of or behind the (.+)\?", question):
        return "in front" if facts.holds(facts.find(found[1]), "in front of", facts.find(found[2])) else "behind"
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
    answers = [question.answer for question in questions if question.answer in ("yes", "no")]
    assert 0.3 < answers.count("yes") / len(answers) < 0.7
