"""Which backends there are."""

from importlib import import_module

import pytest

from experts.registry import BACKENDS, passes
from model.errors import UserError
from model.modalities import MODALITIES


def test_experts_of_one_backend_share_a_pass_in_the_registrys_order():
    found = passes({"ocr_detection": "nano", "obj_detection": "nano", "depth": "nano"})
    assert found == [("experts.nano.backend", ["depth", "obj_detection", "ocr_detection"])]


def test_unknown_names_are_answered_with_those_there_are():
    with pytest.raises(UserError, match=r"unknown expert 'dept'.*depth, normal"):
        passes({"dept": "nano"})
    with pytest.raises(UserError, match="expert 'depth' has no backend 'midas'; it has: nano, dpt"):
        passes({"depth": "midas"})


def test_every_entry_leads_to_a_module_that_loads():
    assert set(BACKENDS) <= set(MODALITIES)
    for backends in BACKENDS.values():
        for module in backends.values():
            assert callable(import_module(module).load)
