"""Experts that stay in memory label as the runner does."""

import pytest
import torch

from common.errors import UserError
from common.files import ROOT
from dataset.images import read_image
from experts import expert_pool
from experts.expert_pool import ExpertPool
from experts.finite import NotFinite
from experts.runner import generate_labels
from helpers.inference.image_cache import ImageCache
from nano.expert.network import NanoNetwork
from tests.experts.conftest import content

PHOTO = ROOT / "helpers" / "images" / "blue_cone_bread_sign.jpeg"
NANO = dict.fromkeys(["depth", "normal", "seg_scenes", "edge", "obj_detection", "ocr_detection"], "nano")


def test_the_same_labels_as_from_the_runner_and_the_network_is_loaded_once(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpeg").write_bytes(PHOTO.read_bytes())
    generate_labels(tmp_path / "images", tmp_path / "runner", NANO, num_workers=0)

    loads = []
    for work in expert_pool.passes(NANO, 1):
        load = work.module.load
        monkeypatch.setattr(work.module, "load", lambda *given, load=load: loads.append(1) or load(*given))
    experts = ExpertPool(NANO)
    assert not loads
    for _ in range(2):
        written = []
        for name in experts.label(read_image(PHOTO), "a", tmp_path / "kept"):
            written.append(name)
            assert (tmp_path / "kept" / name / "a.png").is_file()
        assert written == list(NANO)
    assert len(loads) == 1
    found = content(tmp_path / "kept", manifests=False)
    assert found == content(tmp_path / "runner", manifests=False)
    assert len(found) > len(NANO)


def test_a_network_whose_output_is_not_finite_gives_no_label(tmp_path, monkeypatch):
    experts = ExpertPool({"depth": "nano"})
    monkeypatch.setattr(NanoNetwork, "forward", lambda network, images: {"depth": images * torch.nan})
    with pytest.raises(NotFinite):
        list(experts.label(read_image(PHOTO), "a", tmp_path))
    with pytest.raises(UserError, match=r"an image cannot be labelled: depth: .*; depth \(nano\): .* any image"):
        ImageCache().add([PHOTO], {"depth": "nano"})
    assert not list(tmp_path.iterdir())


def test_missing_weights_are_named_before_anything_is_labelled(tmp_path):
    with pytest.raises(
        UserError, match=r"cannot be run: depth \(.* is missing, fetch it .*; .* without: --experts edge"
    ):
        ExpertPool({"depth": "dpt", "edge": "nano"}, weights=tmp_path)
