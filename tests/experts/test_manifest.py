"""What labels were made with, read back from beside them."""

from experts.manifest import new_manifest, read_backends, write_manifest
from experts.registry import passes


def test_the_networks_that_made_labels_can_be_run_again(tmp_path):
    work = passes({"depth": "nano", "obj_detection": {"name": "unidet", "channel_order": "rgb"}}, 4)
    for each in work:
        (expert,) = each.modalities
        write_manifest(tmp_path / expert, new_manifest(expert, each, "fp32", [], "cpu"))
    backends = read_backends(tmp_path, ["depth", "edge", "obj_detection"])
    assert list(backends) == ["depth", "obj_detection"]  # edge has no labels from here
    assert passes(backends, 4) == work
