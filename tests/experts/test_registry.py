"""Backends, and the jobs that experts form."""

from importlib import import_module

import pytest

from common.errors import UserError
from experts.registry import BACKENDS, passes
from model.modalities import MODALITIES


def test_experts_of_one_backend_share_a_pass_in_the_order_of_modalities():
    (found,) = passes({"ocr_detection": "nano", "obj_detection": "nano", "depth": "nano"}, 16)
    assert (found.backend, found.module.__name__) == ("nano", "nano.expert.backend")
    assert found.modalities == ("depth", "obj_detection", "ocr_detection")
    assert (found.options, found.batch_size) == (found.module.Options(), 16)
    assert next(iter(MODALITIES)) == "depth"  # which the object detector reads


def test_options_and_batch_sizes_part_passes(grey):
    shifted = {"name": "grey", "shift": 1, "colours": ["red"]}
    for backends, jobs in (
        (
            {"obj_detection": shifted, "depth": "grey", "ocr_detection": shifted},
            [(("depth",), 16), (("obj_detection", "ocr_detection"), 16)],
        ),
        ({"depth": {"name": "grey", "shift": 0}, "ocr_detection": "grey"}, [(("depth", "ocr_detection"), 16)]),
        (
            {"depth": {"name": "grey", "batch_size": 2}, "ocr_detection": "grey"},
            [(("depth",), 2), (("ocr_detection",), 16)],
        ),
    ):
        assert [(job.modalities, job.batch_size) for job in passes(backends, 16)] == jobs


@pytest.mark.parametrize(
    ("backends", "message"),
    [
        ({"dept": "grey"}, r"unknown expert 'dept'.*depth, obj_detection"),
        ({"depth": "dpt2"}, "expert 'depth' has no backend 'dpt2'; it has: grey"),
        ({"depth": {"shift": 1}}, "expert 'depth': 'name' is missing beside the options"),
        ({"depth": {"name": "grey", "shft": 1}}, r"of expert 'depth': unknown key 'shft'; is 'shift' meant"),
        ({"depth": {"name": "grey", "shift": "far"}}, "key 'shift': .*integer, got \"far\""),
        ({"depth": {"name": "grey", "batch_size": 0}}, "batch_size must be a number of at least 1, got 0"),
    ],
)
def test_mistakes_are_answered_with_what_there_is(grey, backends, message):
    with pytest.raises(UserError, match=message):
        passes(backends, 16)


def test_every_backend_has_the_three_parts():
    assert set(BACKENDS) <= set(MODALITIES)
    for module in {module for backends in BACKENDS.values() for module in backends.values()}:
        loaded = import_module(module)
        assert callable(loaded.load)
        assert callable(loaded.files)
        loaded.Options()  # all of them have defaults
