"""The names of the classes in a folder of labels, which depend on what made the labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.files import ROOT
from dataset.class_tables import ClassTables, class_names, read_class_tables
from dataset.label_manifest import read_backends
from model.modalities import EMBEDDING_DIM, Modality

SCENES = ROOT / "nano" / "tables"  # the classes of the data set Scenes, and of the networks trained on it
NANO = "nano"  # as the backend calls itself


def label_names(labels: Path, experts: Sequence[Modality]) -> ClassTables:
    """The names that go with the labels of some experts; the tables have no embeddings.

    Args:
        labels: the label folder; its manifests tell the networks. Without a manifest, labels beside those
            of Scenes' segmentation are of Scenes, others those of the released networks.
        experts: whose labels.

    Raises:
        UserError: a manifest is damaged.
    """
    with_classes = [entry for entry in experts if entry.classes]
    made_by = read_backends(labels, [entry.name for entry in with_classes])
    beside_scenes = (labels / "seg_scenes").is_dir()
    names: dict[str, list[str]] = {}
    for entry in with_classes:
        nano = made_by[entry.name]["name"] == NANO if entry.name in made_by else beside_scenes
        if nano:
            names |= read_class_tables(SCENES, [entry.classes]).labels
        else:
            names[entry.classes] = list(class_names(entry.classes))
    return ClassTables(names, {}, np.zeros(EMBEDDING_DIM, np.float32))
