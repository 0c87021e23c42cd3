"""Images from anywhere to captions, answers and label maps."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import UserError
from common.files import ROOT
from helpers.checkpoints.load import InferenceDefaults, LoadedModel
from helpers.inference import predictor
from helpers.inference.captioner import Answerer, Captioner
from helpers.inference.image_cache import ImageCache
from helpers.web.page import heading
from model.captioning import PrismerCaption
from model.vqa import PrismerVQA
from tests.model import tiny

NANO = ROOT / "nano" / "caption_prismer_nano"
PHOTOS = sorted((ROOT / "helpers" / "images").glob("*.[jp]*g"))[:3]
COLORS = ["red", "blue", "a very dark green", "yellow"]


@pytest.fixture(scope="module")
def captioner() -> Captioner:
    return Captioner.from_pretrained(NANO)


@pytest.fixture(scope="module")
def answerer() -> Answerer:
    """A tiny PrismerZ, which needs no labels."""
    return Answerer(LoadedModel(tiny.build(PrismerVQA, end=4.0), InferenceDefaults(prefix=""), Path("nowhere")))


@pytest.fixture
def pictures() -> list[Image.Image]:
    noise = np.random.default_rng(0).integers(0, 255, (3, 40, 50, 3), dtype=np.uint8)
    return [Image.fromarray(pixels) for pixels in noise]


def inputs(answerer: Answerer, pictures: list[Image.Image]) -> dict[str, torch.Tensor]:
    """The encoder's input, made by hand."""
    transform = answerer.image_config(Path()).transform(training=False)
    rgb = torch.stack([transform(picture, {}, torch.Generator())[0] for picture in pictures])
    return answerer._prepare({"rgb": rgb, "labels": {}, "tables": {}})


def test_files_and_images_in_memory_are_the_same(captioner):
    captions = captioner.caption(PHOTOS)
    assert len({found.text for found in captions}) == len(PHOTOS)
    mixed = [str(PHOTOS[2]), Image.open(PHOTOS[0]), PHOTOS[2]]
    again = captioner.caption(mixed, batch_size=2)
    assert [found.text for found in again] == [captions[index].text for index in (2, 0, 2)]
    for found, index in zip(again, (2, 0, 2), strict=True):
        assert found.score == pytest.approx(captions[index].score, rel=1e-4)


def test_one_image_several_or_an_iterator(captioner, answerer, pictures, monkeypatch):
    several = captioner.caption(PHOTOS[:2])
    with PHOTOS[0].open("rb") as file:
        assert captioner.caption(file).text == captioner.caption(str(PHOTOS[0])).text == several[0].text
    assert all(np.asarray(maps["depth"]).any() for maps in captioner.label(iter(PHOTOS[:2])))
    questions = ["who", "what", "is it"]
    expected = [found.text for found in answerer.answer(pictures, questions)]
    assert answerer.answer(pictures[1], questions[1]).text == expected[1]
    assert answerer.answer(pictures[1], questions[1:2]).text == expected[1]
    monkeypatch.setattr(predictor, "AHEAD", 1)
    read = []
    images = (read.append(picture) or picture for picture in pictures)
    found = answerer.answer(images, iter(questions), batch_size=2)
    assert next(found).text == expected[0]
    assert len(read) == 2  # the third image has not been read yet
    assert [each.text for each in found] == expected[1:]


CAPTION_MISTAKES = [
    ({"beams": 3}, "unknown option 'beams'; known: num_beams, max_length, min_length, length_penalty"),
    ({"num_beams": 0}, "num_beams must be a whole number from 1 on, got 0"),
    ({"min_length": 9, "max_length": 7}, "min_length 9 is more than max_length 7"),
    ({"experts": "depth"}, "experts must be a list of names, got 'depth'"),
    ({"experts": ["sound"]}, "not trained with an expert 'sound'; it has: depth, normal"),
]
ANSWER_MISTAKES = [
    ({"max_length": 3}, "'max_length'; known: num_beams, max_new, min_new, length_penalty"),
    ({"answers": "red"}, "answers must be a list of texts, got 'red'"),
    ({"answers": [1]}, r"answers must be a list of texts, got \[1\]"),
    ({"answers": COLORS, "k": 0}, "k must be a whole number from 1 on, got 0"),
    ({"answers": COLORS, "num_beams": 2}, "its answer among 4, so there is no beam search to set num_beams"),
    ({"questions": ["who"]}, "1 questions for 3 images"),
]


@pytest.mark.parametrize(("options", "message"), CAPTION_MISTAKES)
def test_a_mistake_in_captioning_is_named(captioner, options, message):
    with pytest.raises(UserError, match=message):
        captioner.caption(PHOTOS[0], **options)


@pytest.mark.parametrize(("options", "message"), ANSWER_MISTAKES)
def test_a_mistake_in_answering_is_named(answerer, pictures, options, message):
    with pytest.raises(UserError, match=message):
        answerer.answer(pictures, **{"questions": "who"} | options)


def test_an_iterator_of_fewer_questions_and_an_array_are_mistakes(answerer, pictures):
    with pytest.raises(UserError, match="fewer questions than images"):
        list(answerer.answer(iter(pictures), ["who"]))
    with pytest.raises(UserError, match=r"a ndarray is no image; .* a Pillow image"):
        answerer.answer([np.asarray(pictures[0])], "who")


def test_a_model_says_what_it_is(captioner, answerer):
    experts = "depth, normal, seg_scenes, edge, obj_detection, ocr_detection"
    size = sum(value.numel() for value in captioner.model.parameters())
    expected = f"Captioner(prismer_nano, {size:,} parameters, 128 pixels, experts: {experts}; on "
    assert repr(captioner).startswith(expected)
    assert "experts: none; on" in repr(answerer)


def test_a_picture_is_labelled_once_and_labels_are_kept(tmp_path, captioner):
    first = Captioner(captioner.loaded, cache=tmp_path)
    maps = first.label([PHOTOS[0], PHOTOS[0], PHOTOS[1]])
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "labels").rglob("*.png")}
    assert len(written) == 2 * 6
    assert np.array_equal(maps[0]["depth"], maps[1]["depth"])
    assert not np.array_equal(maps[0]["depth"], maps[2]["depth"])
    for label in maps[0].values():
        assert label.size == Image.open(PHOTOS[0]).size
    second = Captioner(captioner.loaded, cache=tmp_path)
    second.caption(PHOTOS[:2])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "labels").rglob("*.png")} == written


def test_pictures_are_one_only_if_they_are_equal(tmp_path):
    """Two of the same bytes may differ in shape."""
    flat = [Image.new("RGB", size) for size in ((8, 2), (2, 8), (8, 2), (4, 4))]
    names = ImageCache(tmp_path).add([*flat, Image.new("RGB", (8, 2), (1, 0, 0))], {})
    assert names[0] == names[2]
    assert len(set(names)) == 4
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == sorted(set(names))
    assert [Image.open(tmp_path / "images" / name).size for name in names[:3]] == [(8, 2), (2, 8), (8, 2)]


def test_an_image_that_cannot_be_read_is_named(answerer, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    for name, expected in (
        ("broken.jpg", "leave it out or replace it"),
        ("gone.png", "No such file or directory; check its name"),
    ):
        with pytest.raises(UserError, match=rf"{name}: .*{expected}"):
            answerer.answer([PHOTOS[0], tmp_path / name], "what")


def test_an_output_that_is_not_finite_is_no_answer(answerer, pictures, monkeypatch):
    outputs = ["red", "blue", "no"], [-1.0, math.nan, -math.inf]
    monkeypatch.setattr(answerer.model, "generate", lambda *_, **__: outputs)
    with pytest.raises(UserError, match="image 2 of 3: the network's output is not finite"):
        answerer.answer(pictures, "what")
    images = ImageCache()
    dataset = images.dataset(images.add(pictures, {}), answerer.image_config(images.labels))
    found = list(answerer.answers(dataset, ["what"] * 3, batch_size=3))
    assert [said.text for _, said in found] == ["red"]
    assert len(dataset.skipped) == 2


def test_some_experts_alone_and_attribution(captioner):
    everything, other = (captioner.caption(PHOTOS[:2], experts=experts) for experts in (None, ("depth",)))
    assert [found.text for found in everything] != [found.text for found in other]
    assert everything[0].attribution is None
    told = captioner.caption(PHOTOS[:2], batch_size=1, experts=["edge", "depth"], attribution=True, num_beams=1)
    for found in told:
        assert f"{' '.join(found.attribution.words)}.".capitalize() == found.text
        assert list(found.attribution.masses) == ["rgb", "depth", "edge"]
        assert torch.allclose(sum(found.attribution.masses.values()), torch.ones(len(found.attribution.words)))
    assert list(captioner.label(PHOTOS[:1], ["edge"])[0]) == ["edge"]
    assert captioner.caption(PHOTOS[0], experts=[], max_length=7).text  # its own min_length is 8


def test_answers_have_attribution(answerer, pictures):
    for choices in (COLORS, []):
        found = answerer.answer(pictures, "what color is it", choices, attribution=True)
        assert [" ".join(each.attribution.words).lower() for each in found] == [each.text for each in found]


def test_an_expert_without_a_network_is_named(captioner):
    loaded = replace(captioner.loaded, usage=InferenceDefaults())
    with pytest.raises(UserError, match="no network labels seg_scenes; name one in `backends`"):
        Captioner(loaded).caption(PHOTOS[:1])
    given = Captioner(loaded, backends={"seg_scenes": "nano", "depth": "depth_anything"}).backends()
    assert (given["seg_scenes"], given["depth"], given["edge"]) == ("nano", "depth_anything", "dexined")


def test_the_miniature_tells_a_color():
    model = Answerer.from_pretrained(NANO.with_name("vqa_prismer_nano"))
    (photo,) = [path for path in PHOTOS if path.stem == "blue_cone_bread_sign"]
    found = model.answer([photo], "What color is the cone?", ["red", "blue", "yes", "green"])[0]
    assert found.text == "blue"
    assert len(found.ranked) == 4


def test_answers_are_written(answerer, pictures):
    questions = ["what is it", "What color is the ball?", "who"]
    found = answerer.answer(pictures, questions, batch_size=2)
    asked = ["What is it?", "What color is the ball?", "Who?"]
    texts, scores = answerer.model.generate(inputs(answerer, pictures), asked, return_scores=True)
    assert [answer.text for answer in found] == texts
    assert [answer.score for answer in found] == pytest.approx(scores, rel=1e-4)
    assert answerer.answer(pictures[:1], "who")[0] != found[0]
    of_the_task = {"num_beams": 1, "max_new": 2}
    usage = InferenceDefaults(prefix="", answering=of_the_task)
    brief = Answerer(replace(answerer.loaded, usage=usage))
    expected = answerer.model.generate(inputs(answerer, pictures), asked, **of_the_task)
    assert [answer.text for answer in brief.answer(pictures, questions)] == expected
    again = brief.answer(pictures, questions, num_beams=3, max_new=10)
    assert [answer.text for answer in again] == texts


def test_answers_are_chosen_with_scores(answerer, pictures):
    found = answerer.answer(pictures, "what color is it", COLORS, k=3)
    ranking = answerer.model.rank(inputs(answerer, pictures), ["What color is it?"] * 3, COLORS, 3)
    assert [answer.text for answer in found] == [COLORS[index] for index in ranking.best]
    for answer, scores in zip(found, ranking.scores, strict=True):
        assert answer.ranked[0] == (answer.text, answer.score)
        assert [score for _, score in answer.ranked] == pytest.approx(
            scores.sort(descending=True).values.tolist(), rel=1e-4
        )


def test_those_of_the_task_are_chosen_from_unless_others_are_given(pictures):
    usage = InferenceDefaults(prefix="", answers=COLORS, k=2)
    answerer = Answerer(LoadedModel(tiny.build(PrismerVQA, end=4.0), usage, Path("nowhere")))
    assert len(answerer.answer(pictures[:1], "what")[0].ranked) == 2
    assert answerer.answer(pictures[:1], "what", ["seven"])[0].text == "seven"
    assert answerer.answer(pictures[:1], "what", [])[0].ranked == ()


def test_a_saved_folder_needs_no_other(captioner, tmp_path):
    captioner.save_pretrained(tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert (config["tokenizer"], config["class_tables"]) == (".", "class_tables")
    moved = (tmp_path / "saved").rename(tmp_path / "moved")
    other = Captioner.from_pretrained(moved)
    assert other.loaded.class_tables == moved / "class_tables"
    assert (other.usage, other.model.config) == (captioner.usage, captioner.model.config)
    assert other.model.tokenizer.get_vocab() == captioner.model.tokenizer.get_vocab()
    for key, value in captioner.model.state_dict().items():
        assert torch.equal(other.model.state_dict()[key], value), key
    for key, value in captioner._prepare.named_buffers():
        assert torch.equal(other._prepare.get_buffer(key), value), key


def test_a_folder_with_another_description_is_described_anew(captioner, tmp_path):
    (tmp_path / "model.json").write_text('{"of": "a model that was trained here"}')
    with pytest.raises(UserError, match=r"model\.json: .* replace it with overwrite=True"):
        captioner.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.json"]
    captioner.save_pretrained(tmp_path, overwrite=True)
    assert Captioner.from_pretrained(tmp_path).usage == captioner.usage
    captioner.save_pretrained(tmp_path)  # its own it may replace


def test_other_programs_read_the_tokenizer(tmp_path):
    from transformers import AutoTokenizer

    model = tiny.build(PrismerCaption)
    captioner = Captioner(LoadedModel(model, InferenceDefaults(), Path("nowhere")))
    captioner.save_pretrained(tmp_path, metrics={"CIDEr": 1.23456})
    text = "A picture of two cats."
    assert AutoTokenizer.from_pretrained(tmp_path)(text).input_ids == model.tokenizer(text).input_ids
    card = (tmp_path / "README.md").read_text()
    assert "# PrismerZ\n" in card
    assert "license" not in card
    assert "| CIDEr | 1.235 |" in card
    assert f"of {sum(p.numel() for p in model.parameters()):,} parameters" in card
    assert "it reads no labels." in card
    assert not (tmp_path / "class_tables").exists()


def test_a_model_of_scenes_says_so(captioner, answerer):
    assert "Scenes only" in captioner.limits
    assert captioner.limits in heading(captioner.experts(), [NANO], captioner.limits)
    assert answerer.limits == ""
