"""NaN and infinity from a network: no label, counted, tried again; the other images get theirs."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset.label_files import Word
from dataset.shards.pack import pack
from dataset.shards.tar_index import index_of, keys
from experts.depth.label import depth_label
from experts.detection.cascade import Cascade
from experts.detection.detections import detections
from experts.detection.label import draw
from experts.detection.proposals import Proposals
from experts.edge.dexined import edge_label
from experts.finite import NotFinite
from experts.normal.nll_angmf import normal_label
from experts.ocr.decode import Cells, read_words, select_cells
from experts.ocr.label import words_label
from experts.ocr.network import Heads
from experts.runner import UNREADABLE_LOG, generate_labels
from experts.segmentation.expert import Scores, label_map, likely, semantic_scores
from nano.expert import decode

BACKENDS = {"depth": "grey", "ocr_detection": "grey"}
SIZE = (8, 8)
CHANNELS = Heads(2, 4, 1, 2, 4, 68)


def heads(spoilt: str, value: float) -> Heads:
    maps = Heads(*(torch.zeros(2, channels, 4, 4) for channels in CHANNELS))
    getattr(maps, spoilt)[1, 0, 2, 2] = value
    return maps


# Each makes a label, or what one is made of, of numbers of which one is spoilt.
USES = {
    "depth": lambda x: depth_label(torch.arange(64.0).view(8, 8).index_fill(0, torch.tensor(3), x), SIZE),
    "normal": lambda x: normal_label(torch.full((3, 8, 8), 0.5).index_fill(2, torch.tensor(1), x), SIZE),
    "edge": lambda x: edge_label(torch.arange(64.0).view(8, 8).index_fill(0, torch.tensor(3), x), SIZE),
    "class logits": lambda x: semantic_scores(torch.tensor([[0.0, x]]), torch.zeros(1, 2, 2), SIZE, SIZE),
    "mask logits": lambda x: semantic_scores(torch.zeros(1, 3), torch.full((1, 2, 2), x), SIZE, SIZE),
    "likely classes": lambda x: likely(torch.full((5, 8, 8), x)),
    "class map": lambda x: label_map(Scores([3], torch.full((1, 4, 4), x)), SIZE),
    "boxes": lambda x: detections(torch.tensor([[0, 0, 5, x]]), torch.tensor([[0.1, 0.9]]), SIZE, 0.5),
    "scores": lambda x: detections(torch.tensor([[0.0, 0, 5, 5]]), torch.tensor([[0.1, x]]), SIZE, 0.5),
    "drawn boxes": lambda x: draw(np.array([[0, 0, x, 5]], np.float32), np.array([1]), SIZE, None),
    "a word's corners": lambda x: words_label([("a", np.full((4, 2), x))], lambda texts: np.ones((1, 64)), SIZE),
    "a word's features": lambda x: words_label([("a", np.ones((4, 2)))], lambda texts: np.full((1, 64), x), SIZE),
    "cells": lambda x: read_words(Cells((16, 16), np.full((1, 8), x), np.ones((0, 75))), SIZE),
    "nano depth": lambda x: decode.depth_label(np.array([[1.0, x], [3.0, 5.0]]), SIZE),
    "nano normal": lambda x: decode.normal_label(np.full((3, 4, 4), x), SIZE),
    "nano edge": lambda x: decode.edge_label(np.array([[0.1, x]]), SIZE),
    "nano classes": lambda x: decode.semantic_label(np.array([[0, x]]), SIZE),
    "nano objects": lambda x: decode.instance_label(
        np.zeros((4, 8, 8)), np.zeros((8, 8)), np.full((2, 8, 8), x), SIZE
    ),
    "nano word": lambda x: decode.words_label(np.ones(SIZE), Word("a", np.full(64, x)), SIZE),
    **{name: (lambda x, name=name: select_cells(heads(name, x))) for name in Heads._fields},
}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("use", USES)
def test_no_label_is_made_of_a_number_that_is_none(use: str, value: float) -> None:
    with pytest.raises(NotFinite, match="not finite"):
        USES[use](value)


def test_a_depth_too_wide_to_be_stretched() -> None:
    with pytest.raises(NotFinite):
        depth_label(torch.tensor([[3e38, -3e38]]), SIZE)


@pytest.mark.parametrize("part", ["objectness.bias", "deltas.bias"])
def test_proposals_that_are_not_finite(part: str) -> None:
    network = Proposals().eval()
    network.get_parameter(part).data[0] = torch.inf
    levels = [torch.zeros(1, 256, 4, 4) for _ in range(5)]
    with pytest.raises(NotFinite), torch.inference_mode():
        network(levels, [(32, 32)])


@pytest.mark.parametrize("part", ["classes.bias", "deltas.bias"])
@pytest.mark.parametrize("stage", [0, 2])
def test_a_stage_of_the_cascade_that_is_not_finite(part: str, stage: int) -> None:
    network = Cascade().eval()
    network.heads[stage].get_parameter(part).data[0] = torch.nan
    levels = [torch.zeros(1, 256, side, side) for side in (8, 4, 2)]
    with pytest.raises(NotFinite), torch.inference_mode():
        network(levels, [torch.tensor([[0.0, 0, 30, 30]])], [(64, 64)], 0.0)


@pytest.mark.parametrize("early", [False, True])
def test_the_other_images_of_a_batch_get_their_labels(scenes, tmp_path, grey, capsys, early):
    grey.spoilt, grey.check = {112}, early  # a/two.jpg
    report = generate_labels(scenes, tmp_path, BACKENDS, num_workers=0, batch_size=4)
    assert (report.images, report.labelled, report.finished_before) == (6, 5, 0)
    assert list(report.failed) == [str(scenes / "a/two.jpg")]
    assert report.notes == []
    (line,) = (tmp_path / UNREADABLE_LOG).read_text().splitlines()
    assert line.endswith("two.jpg\tdepth, ocr_detection: the network's output is not finite (NaN or infinity)")
    assert line.replace("\t", ": ") in capsys.readouterr().err.replace("no label for ", "")
    for expert in BACKENDS:
        assert len(list((tmp_path / expert).rglob("*.png"))) == 5
    grey.spoilt.clear()
    report = generate_labels(scenes, tmp_path, BACKENDS, num_workers=0)
    assert (report.labelled, report.finished_before, report.skipped) == (1, 5, {})
    assert not (tmp_path / UNREADABLE_LOG).exists()


@pytest.mark.parametrize("packed", [False, True])
def test_a_run_that_labels_nothing_leaves_nothing_and_says_what_may_help(scenes, tmp_path, grey, packed):
    grey.spoilt = set(range(1000))
    data, labels = tmp_path / "data", tmp_path / "labels"
    if packed:
        pack(scenes, scenes / "none", data / "web", experts=[], shard_size=2)
    report = generate_labels(data if packed else scenes, labels, BACKENDS, num_workers=0)
    assert (report.images, report.labelled, len(report.failed)) == (6, 0, 6)
    (note,) = report.notes
    assert note.startswith(
        "depth and ocr_detection (grey): the network's output was not finite for any image (6); "
        "its weights may be damaged: fetch them again"
    )
    assert os.listdir(labels) == [UNREADABLE_LOG]


def test_a_run_that_ends_before_its_first_label_leaves_nothing(scenes, tmp_path, grey):
    grey.before_decoding = lambda target: 1 / 0
    with pytest.raises(ZeroDivisionError):
        generate_labels(scenes, tmp_path, BACKENDS, num_workers=0)
    assert os.listdir(tmp_path) == []


def test_images_of_a_shard_that_failed_are_tried_again(scenes, tmp_path, grey):
    """Those that cannot be read are named by every run; only what is new is added to a shard."""
    data, labels = tmp_path / "data", tmp_path / "labels"
    shutil.copytree(scenes, tmp_path / "scenes")
    (tmp_path / "scenes/a/broken.png").write_bytes(b"no image")
    pack(tmp_path / "scenes", scenes / "none", data / "web", experts=[], shard_size=4)
    shard = Path("web/00000.tar")
    grey.spoilt = {160}  # a/b/dotted.name.bmp
    first = generate_labels(data, labels, BACKENDS, num_workers=0)
    assert (first.labelled, len(first.unreadable), len(first.failed)) == (5, 1, 1)
    before = (labels / "depth" / shard).read_bytes()
    grey.decoded.clear()
    grey.spoilt.clear()
    second = generate_labels(data, labels, BACKENDS, num_workers=0)
    assert grey.decoded == ["web/a/b/dotted.name"]
    assert (second.labelled, second.finished_before) == (1, 5)
    assert second.unreadable == first.unreadable
    for expert in BACKENDS:
        found = index_of(labels / expert / shard)
        wanted = [key for key in keys(index_of(data / shard).names) if key != "a/broken"]
        assert sorted(keys(found.names)) == sorted(wanted)
    assert (labels / "depth" / shard).read_bytes() != before
    third = generate_labels(data, labels, BACKENDS, num_workers=0)
    assert (third.labelled, third.finished_before, third.unreadable) == (0, 6, first.unreadable)
