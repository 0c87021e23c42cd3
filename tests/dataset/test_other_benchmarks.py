"""The code of docs/data.md turns the files of GQA, OK-VQA and TextVQA into lists that can be scored."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from common.files import ROOT
from dataset.questions import question_dataset
from dataset.samples import ImageConfig
from helpers.evaluation.vqa_accuracy import score_answers

PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
(LINES,) = re.findall(r"```python\n(import json\n.*?)```", PAGE, re.DOTALL)
TEN = ["cat"] * 3 + ["dog"] * 7
FILES = {
    "gqa/testdev_balanced_questions.json": {
        "201": {"imageId": "n16", "question": "Is it wet?", "answer": "yes", "types": {"structural": "verify"}},
        "202": {"imageId": "n16", "question": "Who?", "answer": "man", "types": {"structural": "query"}},
    },
    "okvqa/OpenEnded_mscoco_val2014_questions.json": {
        "questions": [{"image_id": 297147, "question": "What is it?", "question_id": 2971475}]
    },
    "okvqa/mscoco_val2014_annotations.json": {
        "annotations": [
            {
                "image_id": 297147,
                "question_id": 2971475,
                "answers": [
                    {"answer_id": number, "raw_answer": each, "answer": each} for number, each in enumerate(TEN)
                ],
            }
        ]
    },
    "textvqa/TextVQA_0.5.1_val.json": {
        "data": [{"question_id": 34602, "image_id": "003a8ae2ef43b901", "question": "Which?", "answers": TEN}]
    },
}
IMAGES = (
    "gqa/images/n16.jpg",
    "okvqa/val2014/COCO_val2014_000000297147.jpg",
    "textvqa/train_images/003a8ae2ef43b901.jpg",
)


@pytest.mark.parametrize(
    ("name", "answers", "accuracy", "by_type"),
    [
        ("gqa", {"201": "Yes.", "202": "woman"}, 0.5, {"query": (0.0, 1), "verify": (1.0, 1)}),
        ("okvqa", {2971475: "a cat"}, 0.9, {}),
        ("textvqa", {34602: "dog"}, 1.0, {}),
    ],
)
def test_files_of_other_benchmarks_become_lists_that_are_scored(
    tmp_path, monkeypatch, name, answers, accuracy, by_type
):
    monkeypatch.chdir(tmp_path)
    for file, content in FILES.items():
        path = Path(file)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    for file in IMAGES:
        Path(file).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(file)
    exec(LINES, {})
    visual = ImageConfig(label_path=Path("none"), experts=(), image_resolution=8, label_resolution=8)
    dataset = question_dataset("custom", "test", name, visual, test_list="test.json")
    assert f"{name}/{dataset[0]['image']}" in IMAGES
    rows = [{"question_id": key, "answer": answer} for key, answer in answers.items()]
    found = score_answers(rows, dataset.references())
    assert found.accuracy == pytest.approx(accuracy)
    assert found.by_type == by_type
