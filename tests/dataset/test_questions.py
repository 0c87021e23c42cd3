"""Lists of questions as they lie on disk, and lists of answers."""

from typing import Any

import pytest

from common.errors import UserError
from dataset.concat import ConcatDataset
from dataset.loader import collate
from dataset.questions import QuestionDataset, question_dataset, read_answers
from tests.dataset.disk import Disk, visual_of

ROWS = [
    {"image": "a.png", "question": "what is it", "answer": "a cat", "weight": 0.6},
    {"image": "a.png", "question": "what is it", "answer": "a dog", "weight": 0.4},
    {"image": "b.png", "question": "", "answer": "yes", "weight": 1},
]


def open_data(disk: Disk, name: str = "vqav2", split: str = "train", **options: Any) -> QuestionDataset:
    return question_dataset(name, split, disk.data, visual_of(disk), **options)


def add_images(disk: Disk, *folders: str) -> None:
    for folder in folders:
        for image in ("a.png", "b.png"):
            disk.add(image, folder)


def test_training_rows_of_two_lists(disk: Disk) -> None:
    add_images(disk, "vqav2", "vg")
    disk.write("vqav2_train_val.json", [row | {"dataset": "vqa"} for row in ROWS])
    disk.write("vg_qa.json", [{"dataset": "vg", "image": "b.png", "question": "Why?", "answer": "No"}])
    data = ConcatDataset([open_data(disk), open_data(disk, "vg")])
    assert len(data) == 4
    batch = collate([data[index] for index in range(4)])
    assert batch["question"] == ["What is it?", "What is it?", "?", "Why?"]
    assert batch["answer"] == ["a cat", "a dog", "yes", "No"]
    assert batch["weight"] == [0.6, 0.4, 1.0, 0.2]
    assert batch["count"] == [1, 1, 1, 1]
    assert batch["index"].tolist() == [0, 1, 2, 3]
    assert data.image_keys() == ["vqav2/a", "vqav2/a", "vqav2/b", "vg/b"]


def test_an_image_can_bring_several_questions_which_take_turns(disk: Disk) -> None:
    add_images(disk, "vqav2")
    disk.write("vqav2_train_val.json", ROWS)
    data = open_data(disk, questions_per_image=3)
    assert len(data) == 2
    assert data[0]["answer"] == ["a cat", "a dog", "a cat"]
    data.set_epoch(1)
    assert data[0]["answer"] == ["a dog", "a cat", "a dog"]
    assert collate([data[0], data[1]])["weight"] == [0.4, 0.6, 0.4, 1.0, 1.0, 1.0]


def test_a_test_sample_is_an_image_with_all_its_questions(disk: Disk) -> None:
    add_images(disk, "vqav2")
    rows = [
        {"image": image, "question": "Is it?", "question_id": number, "answer": ["yes"] * 10, "type": "exist"}
        for number, image in enumerate(["a.png", "b.png", "a.png"])
    ]
    disk.write("vqav2_test.json", rows)
    data = open_data(disk, split="test")
    batch = collate([data[0], data[1]])
    assert batch["count"] == [2, 1]
    assert batch["question_id"] == [0, 2, 1]
    assert "answer" not in batch
    references = data.references()
    assert references[2].references == ("yes",) * 10
    assert references[2].type == "exist"
    disk.write(
        "vqav2_test.json", [{"question_type" if key == "type" else key: row[key] for key in row} for row in rows]
    )
    assert open_data(disk, split="test").references()[2].type == "exist"  # as VQAv2 calls it
    apart = open_data(disk, split="test", by_image=False)
    assert [apart[index]["question_id"] for index in range(3)] == [[0], [1], [2]]
    disk.write("vqav2_test.json", [{"image": "a.png", "question": "", "question_id": "x"}])
    assert open_data(disk, split="test").references() is None
    assert open_data(disk, split="test")[0]["question"] == ["?"]


def test_lists_of_ones_own(disk: Disk) -> None:
    add_images(disk, "")
    disk.write("train.csv", "image,question,answer,weight\na.png,Who?,me,0.5\n")
    disk.write("test.jsonl", '{"image": "b.png", "question": "Who?"}\n')
    lists = {"train_list": "train.csv", "test_list": "test.jsonl"}
    assert open_data(disk, "custom", **lists)[0]["weight"] == [0.5]
    assert open_data(disk, "custom", "test", **lists)[0]["question_id"] == [0]
    with pytest.raises(UserError, match="key test_list is missing"):
        open_data(disk, "custom", "test")


@pytest.mark.parametrize(
    ("split", "row", "message"),
    [
        ("train", {"question": "Who?"}, "row 2: 'answer' is missing or empty"),
        ("train", {"answer": "me"}, "row 2: 'question' is missing or empty"),
        ("train", {"question": "Who?", "answer": "me", "weight": "much"}, "row 2: 'weight' must be a number"),
        ("train", {"question": "Who?", "answer": "me", "weight": -1}, "row 2: 'weight' must be a number"),
        ("train", {"question": "Who?", "answer": ["me", " "]}, "row 2: 'answer' must be text"),
        ("train", {"question": 3, "answer": "me"}, "row 2: 'question' must be text"),
        ("test", {"question": "Who?", "question_id": 7}, "row 2: question_id 7 is that of row 1, too"),
        ("test", {"question": "Who?", "question_id": "7"}, "row 2: question_id 7 is that of row 1, too"),
        ("test", {"question": "Who?", "question_id": True}, "row 2: 'question_id' must be a number or a text"),
        ("test", {"question": "Who?", "question_id": 8}, "row 2: rows with and without 'answer'"),
        ("test", {"question": "Who?", "question_id": 8, "answer": 0}, "row 2: 'answer' must be text"),
        ("train", {"question": "Who?", "answer": "me", "weight": True}, "row 2: 'weight' must be a number"),
        ("test", {"question": "Who?", "question_id": [7]}, "row 2: 'question_id' must be a number or a text"),
    ],
)
def test_a_wrong_row_is_named(disk: Disk, split: str, row: dict, message: str) -> None:
    add_images(disk, "")
    good = {"image": "a.png", "question": "Who?", "answer": "me", "question_id": 7}
    path = disk.write("list.json", [good, {"image": "a.png", **row}])
    with pytest.raises(UserError, match=message) as raised:
        open_data(disk, "custom", split, train_list="list.json", test_list="list.json")
    assert str(path) in str(raised.value)


def test_unknown_lists_are_named(disk: Disk) -> None:
    with pytest.raises(UserError, match=r"unknown VQA data set 'vg' \(test\); known: vqav2, vg, custom"):
        open_data(disk, "vg", "test")
    with pytest.raises(UserError, match=r"vqav2_train_val\.json: No such file"):
        open_data(disk)


def test_answers_to_choose_from(disk: Disk) -> None:
    path = disk.write("answers.json", ["yes", "no", "Yes", " no "])
    assert read_answers(path) == ["yes", "no"]
    assert read_answers(disk.write("answers.txt", "red cube\nblue\n")) == ["red cube", "blue"]
    for content in (["yes", ""], ["yes", 3]):
        with pytest.raises(UserError, match=r"answers\.json: answer 2 is"):
            read_answers(disk.write("answers.json", content))
    with pytest.raises(UserError, match=r"answers\.csv: answers are a JSON array"):
        read_answers(disk.write("answers.csv", "answer\nyes\n"))
    assert read_answers(disk.write("answers.JSON", ["yes"])) == ["yes"]
    for content in ({"yes": 1}, []):
        with pytest.raises(UserError, match="expected an array of answers"):
            read_answers(disk.write("answers.json", content))
