"""Which backends there are."""

from importlib import import_module

import pytest

from common.errors import UserError
from experts.registry import BACKENDS, passes
from model.modalities import MODALITIES


def modalities(backends):
    return [each.modalities for each in passes(backends, 16)]


def test_experts_of_one_backend_share_a_pass_in_the_registrys_order():
    (found,) = passes({"ocr_detection": "nano", "obj_detection": "nano", "depth": "nano"}, 16)
    assert (found.backend, found.module.__name__) == ("nano", "nano.expert.backend")
    assert found.modalities == ("depth", "obj_detection", "ocr_detection")
    assert (found.options, found.batch_size) == (found.module.Options(), 16)


def test_depth_is_made_before_the_detection_that_reads_it():
    assert next(iter(MODALITIES)) == "depth"


def test_options_and_batch_sizes_part_passes(grey):
    shifted = {"name": "grey", "shift": 1, "colours": ["red"]}
    assert modalities({"obj_detection": shifted, "depth": "grey", "ocr_detection": shifted}) == [
        ("depth",),
        ("obj_detection", "ocr_detection"),
    ]
    assert modalities({"depth": {"name": "grey", "shift": 0}, "ocr_detection": "grey"}) == [("depth", "ocr_detection")]
    found = passes({"depth": {"name": "grey", "batch_size": 2}, "ocr_detection": "grey"}, 16)
    assert [(each.modalities, each.batch_size) for each in found] == [
        (("depth",), 2),
        (("ocr_detection",), 16),
    ]


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


def test_every_entry_leads_to_a_module_that_loads():
    assert set(BACKENDS) <= set(MODALITIES)
    for backends in BACKENDS.values():
        for module in backends.values():
            loaded = import_module(module)
            assert callable(loaded.load)
            assert callable(loaded.files)
            loaded.Options()  # all of them have defaults
