"""What labels were made with, read back from beside them."""

from dataclasses import replace

import pytest

from dataset.label_manifest import (
    Manifest,
    WeightFile,
    differences,
    new_manifest,
    read_backends,
    write_manifest,
)
from experts.registry import passes


def test_the_networks_that_made_labels_can_be_run_again(tmp_path):
    work = passes({"depth": "nano", "obj_detection": {"name": "unidet", "channel_order": "rgb"}}, 4)
    for each in work:
        (expert,) = each.modalities
        write_manifest(tmp_path / expert, new_manifest(expert, each.backend, each.options, "fp32", [], "cpu"))
    backends = read_backends(tmp_path, ["depth", "edge", "obj_detection"])
    assert list(backends) == ["depth", "obj_detection"]  # edge has no labels from here
    assert passes(backends, 4) == work


ONE, TWO = WeightFile("a", 1, 2, "11"), WeightFile("b", 3, 4, "22")
OLD = Manifest("depth", "dpt", {"side": 3}, "fp32", [ONE, TWO], 0, {"torch": "2.6"})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"backend": "nano"}, ["backend dpt, now nano"]),
        ({"options": {}}, ['options {"side": 3}, now {}']),
        ({"precision": "bf16"}, ["precision fp32, now bf16"]),
        ({"weights": [ONE]}, ["other weights"]),
        ({"weights": [ONE, replace(TWO, sha256="33")]}, ["other weights"]),
        ({"weights": [replace(TWO, path="c", modified=9), ONE]}, []),  # they lie elsewhere
        ({"made_elsewhere": 7, "made_with": {"torch": "2.7"}}, []),
        ({"backend": "nano", "precision": "fp16"}, ["backend dpt, now nano", "precision fp32, now fp16"]),
    ],
)
def test_what_makes_labels_not_go_together(changes, expected):
    assert differences(OLD, replace(OLD, **changes)) == expected
