"""Caption metrics on COCO's own captions, with and without Java."""

import os
import random
import shutil
import time
import zipfile
from pathlib import Path

import psutil
import pycocoevalcap
import pytest
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from common.errors import UserError
from dataset.reference_captions import read_ground_truth
from helpers.evaluation import caption_metrics
from helpers.evaluation.caption_metrics import FAST_METRICS, score_captions
from helpers.evaluation.ptb_tokenizer import tokenize_java, tokenize_python

PACKAGE = Path(pycocoevalcap.__path__[0])
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="no Java")


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """The references of COCO val; its captions come with SPICE."""
    path = tmp_path_factory.mktemp("coco") / "captions_val2014.json"
    with zipfile.ZipFile(PACKAGE / "spice" / "spice-1.0.jar") as jar:
        path.write_bytes(jar.read("coco/annotations/captions_val2014.json"))
    return read_ground_truth(path)


@pytest.fixture(scope="module")
def people(coco):
    """Caption 1 of 300 images as results, captions 2 to 5 as references."""
    images = sorted(coco)
    random.Random(0).shuffle(images)
    results = [{"image_id": image, "caption": coco[image][0]} for image in images[:300]]
    return results, {image: coco[image][1:5] for image in images[:300]}


@pytest.mark.parametrize("references", [{1: ["a dog runs"]}, {1: ["a dog"], 2: ["a dog"]}])
def test_cider_that_nothing_can_raise_is_no_score(references, monkeypatch):
    monkeypatch.setenv("PATH", "")  # without Java
    results = [{"image_id": image, "caption": texts[0]} for image, texts in references.items()]
    scores = score_captions(results, references, ("bleu", "cider"))
    assert scores.metrics.keys() == {"Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4"}
    assert any(note.startswith("CIDEr skipped: of ") for note in scores.notes)
    wrong = [{"image_id": 1, "caption": "a cat"}, {"image_id": 2, "caption": "a cat"}]
    two = score_captions(wrong, {1: ["some dog"], 2: ["the house"]}, ("cider",))
    assert two.metrics == {"CIDEr": 0}  # which better captions would raise


@needs_java
def test_scores_people_as_the_metrics_own_pipeline_does(people):
    results, references = people
    scores = score_captions(results, references, FAST_METRICS)

    tokenizer = PTBTokenizer()
    gts = tokenizer.tokenize({i: [{"caption": text} for text in texts] for i, texts in references.items()})
    res = tokenizer.tokenize({row["image_id"]: [row] for row in results})
    cider, _ = Cider().compute_score(gts, res)
    assert scores.metrics["CIDEr"] == pytest.approx(cider, abs=1e-12)
    assert scores.metrics["CIDEr"] == pytest.approx(0.9675, abs=5e-5)
    assert list(scores.metrics) == ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr"]
    assert scores.notes == []


@needs_java
def test_meteor_runs_and_no_java_stays_behind(people):
    results, references = people
    scores = score_captions(results[:20], dict(list(references.items())[:20]), ["meteor"])
    assert 0.2 < scores.metrics["METEOR"] < 0.35
    deadline = time.monotonic() + 5
    while (left := java_children()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def java_children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if child.name() == "java"]


@needs_java
def test_a_meteor_that_dies_is_a_note(people, monkeypatch):
    results, references = people
    monkeypatch.setattr("pycocoevalcap.meteor.meteor.METEOR_JAR", "absent.jar")
    scores = score_captions(results, references, ["meteor", "rouge"])
    assert list(scores.metrics) == ["ROUGE_L"]
    assert scores.notes == ["METEOR skipped: Error: Unable to access jarfile absent.jar"]


@needs_java
def test_spice_without_its_files_says_which_and_where(people, tmp_path, monkeypatch):
    results, references = people
    monkeypatch.setattr(caption_metrics, "SPICE_FOLDER", tmp_path)
    (tmp_path / "stanford-corenlp-3.6.0.jar").touch()
    scores = score_captions(results, references, ["spice", "cider"])
    assert list(scores.metrics) == ["CIDEr"]
    (note,) = scores.notes
    assert "stanford-corenlp-3.6.0-models.jar" in note
    assert "stanford-corenlp-3.6.0.jar" not in note
    assert str(tmp_path) in note


@needs_java
def test_spice_gets_its_java_options_and_leaves_none_behind(people, tmp_path, monkeypatch):
    seen = {}

    class FakeSpice:
        def compute_score(self, gts, res):
            seen.update(options=os.environ["JDK_JAVA_OPTIONS"], images=len(gts))
            return 0.25, []

    for jar in caption_metrics.SPICE_JARS:
        (tmp_path / jar).touch()
    monkeypatch.setattr(caption_metrics, "SPICE_FOLDER", tmp_path)
    monkeypatch.setattr(caption_metrics, "Spice", FakeSpice)
    monkeypatch.setenv("JDK_JAVA_OPTIONS", "-Xss4m")
    results, references = people
    assert score_captions(results, references, ["spice"]).metrics == {"SPICE": 0.25}
    assert seen["images"] == 300
    assert seen["options"].startswith("-Xss4m --add-opens=java.base/java.lang=ALL-UNNAMED ")
    assert os.environ["JDK_JAVA_OPTIONS"] == "-Xss4m"


@pytest.mark.parametrize("java", ["none", "broken"])
def test_without_java_scores_are_near_and_marked(people, monkeypatch, tmp_path, java):
    """macOS has a `java` that fails where none is installed."""
    if java == "broken":
        (tmp_path / "java").write_text("#!/bin/sh\necho 'no runtime present' >&2\nexit 1\n")
        (tmp_path / "java").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    scores = score_captions(*people)
    assert scores.metrics["CIDEr"] == pytest.approx(0.9675, abs=2e-3)
    assert {"METEOR", "SPICE"}.isdisjoint(scores.metrics)
    approximate, meteor, spice = scores.notes
    assert "approximate" in approximate
    assert ("no runtime present" if java == "broken" else "no Java") in approximate
    assert meteor.startswith("METEOR skipped")
    assert spice.startswith("SPICE skipped")


@needs_java
def test_python_tokens_are_those_of_java(coco):
    captions = [texts[0] for texts in coco.values()][:10_000]
    pairs = zip(tokenize_java(captions), tokenize_python(captions), strict=True)
    assert sum(java != python for java, python in pairs) <= 5


def test_tokens_without_java():
    captions = ["It's a \"STOP\" sign, don't park!", "A well-known (red) U.S. mailbox at 5:30 o'clock.", ""]
    assert tokenize_python(captions) == [
        "it 's a stop sign do n't park",
        "a well-known -lrb- red -rrb- u.s. mailbox at 5:30 o'clock",
        "",
    ]


@needs_java
def test_line_breaks_inside_a_caption_do_not_shift_the_others():
    assert tokenize_java(["a\nb\u2028c\r\x0bd", "", "caf\u00e9"]) == ["a b c d", "", "caf\u00e9"]


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([], "2 of 2 images have no caption"),
        ([{"image_id": 1, "caption": "a"}], r"1 of 2 images have no caption in the results \(first: 2\)"),
        ([{"image_id": i, "caption": "a"} for i in (1, 2, 3)], r"1 results are of images without references"),
        ([{"image_id": i, "caption": "a"} for i in (1, 2, 2)], "1 results repeat the image_id of another"),
    ],
)
def test_results_that_do_not_match_the_references(results, message):
    with pytest.raises(UserError, match=message):
        score_captions(results, {1: ["a"], 2: ["b"]}, FAST_METRICS)


def test_an_unknown_metric_and_missing_references_are_named():
    with pytest.raises(UserError, match="unknown caption metric 'ciderd'; known metrics: bleu, meteor"):
        score_captions([{"image_id": 1, "caption": "a"}], {1: ["a"]}, ["ciderd"])
    with pytest.raises(UserError, match="no reference captions to score against"):
        score_captions([], {})
