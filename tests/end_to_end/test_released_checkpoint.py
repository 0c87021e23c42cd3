"""A checkpoint as it is released, with its keys and no description, captions images through demo.py.

Its weights are seeded, its size is that of the release, its tokenizer the real one, without a network.
`PRISMER_TEST_SIZES="base large"` runs the large one as well, which takes some minutes and 12 GB of memory.
"""

import os
from pathlib import Path

import pytest
import torch
import yaml

from common.files import ROOT
from dataset.captions import caption_dataset
from dataset.loader import collate
from dataset.samples import ImageConfig
from dataset.text import as_sentence
from helpers.checkpoints.load import prepare_inputs, restore_model, without_memory
from model.captioning import PrismerCaption
from model.config import PrismerConfig
from model.prismer import Prismer
from model.sizes import read_model_size
from tests.dataset.disk import EXPERTS, Disk
from tests.end_to_end.conftest import script
from tests.parity.seeded_weights import seeded_tensor
from tests.roberta_files import write_cache, write_tokenizer

SIZES = os.environ.get("PRISMER_TEST_SIZES", "base").split()
RESOLUTION = 224
LENGTH = 10  # of the captions, tokens
CLASSES = {"coco": 133, "detection": 722}


def seeded_model(size: str, tokenizer: str) -> PrismerCaption:
    """A network of a size of `configs/models.yaml`, with the paper's experts; float16 holds its weights."""
    entry = read_model_size(f"prismer_{size}")
    config = PrismerConfig(entry.vision, entry.text, EXPERTS, RESOLUTION)
    with without_memory():
        shapes = Prismer(config, tokenizer=None).state_dict()
    state = {key: seeded_tensor(key, value.shape) for key, value in shapes.items()}
    state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    return restore_model(PrismerCaption, config, tokenizer, state, size).eval()


def write_class_tables(folder: Path) -> None:
    """Class tables as they are released."""
    folder.mkdir(parents=True)
    for name, count in CLASSES.items():
        content = {"labels": [str(i) for i in range(count)], "features": seeded_tensor(name, (count, 64))}
        torch.save(content, folder / f"{name}_features.pt")
    torch.save(torch.zeros(64), folder / "background_features.pt")


def plain_captions(model: PrismerCaption, labels: Path, tables: Path) -> list[str]:
    """The model's captions without demo.py."""
    resolution = model.config.image_resolution
    visual = ImageConfig(label_path=labels, experts=EXPERTS, image_resolution=resolution, label_resolution=224)
    dataset = caption_dataset("demo", "test", "photos", visual)
    inputs = prepare_inputs(EXPERTS, tables)(collate([dataset[0], dataset[1]]))
    return [as_sentence(text) for text in model.generate(inputs, "A picture of", max_length=LENGTH)]


@pytest.mark.parametrize("size", SIZES)
def test_a_released_checkpoint_captions_images(tmp_path, monkeypatch, size):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))  # holds the tokenizer alone
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    disk = Disk(tmp_path)
    monkeypatch.chdir(disk.data)
    for name in ("a.png", "bb.png"):
        disk.add(name, "photos", size=(64, 48))
    write_class_tables(disk.data / "data" / "class_tables")
    config = yaml.safe_load((ROOT / "configs" / "caption.yaml").read_text())
    config["demo"]["backends"] = {}  # all labels are there
    disk.write("caption.yaml", yaml.safe_dump(config))

    write_cache(tmp_path / "cache")
    model = seeded_model(size, str(write_tokenizer(tmp_path / "roberta")))
    file = disk.data / "logging" / f"caption_prismer_{size}" / "pytorch_model.bin"
    file.parent.mkdir(parents=True)
    torch.save(
        {key: value.half() if value.is_floating_point() else value for key, value in model.state_dict().items()}, file
    )
    arguments = ("--exp_name", f"prismer_{size}", "--images", "photos", "--labels", disk.labels)
    arguments += ("--max_length", LENGTH)
    done = script("demo.py", *arguments, "--config", "caption.yaml", cwd=disk.data)
    file.unlink()  # 0.7 GB, which pytest would keep
    assert done.returncode == 0, done.stderr
    captions = [Path(f"photos/{stem}.txt").read_text().strip() for stem in ("a", "bb")]
    assert all(captions)
    assert captions == plain_captions(model, disk.labels, disk.data / "data" / "class_tables")
