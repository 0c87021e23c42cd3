"""Object detection against the original's numbers, with a released file of seeded weights."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from experts.base import Setting, Target
from experts.detection import unidet
from experts.detection.checkpoint import converted
from experts.detection.label import draw
from experts.detection.network import UniDet, normalise
from tests.parity.goldens import assert_matches
from tests.parity.seeded_weights import seeded_state_dict

FOLDER = Path(__file__).parent
SPEC = json.loads(gzip.decompress((FOLDER / "state_dict_specs" / "obj_detection.json.gz").read_bytes()))


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "goldens" / "det" / "unidet.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def expert(tmp_path_factory: pytest.TempPathFactory) -> unidet.UniDetExpert:
    """The network of released size, read from a file like the released one."""
    folder = tmp_path_factory.mktemp("weights")
    weights = seeded_state_dict(SPEC)
    for key, value in weights.items():  # as the golden has it: fewer classes a box, boxes that stay near
        if key.endswith("cls_score.bias"):
            value -= 2
        if key.endswith(("bbox_pred.weight", "anchor_deltas.weight")):
            value *= 0.1
    constants = {"pixel_mean": torch.ones(3, 1, 1), "pixel_std": torch.ones(3, 1, 1)}
    torch.save({"model": weights | constants, "iteration": 1}, folder / unidet.FILE)
    loaded = unidet.load(["obj_detection"], unidet.Options(), Setting(torch.device("cpu"), folder))
    (folder / unidet.FILE).unlink()  # half a gigabyte
    return loaded


def test_released_keys_are_all_used_and_fill_the_network() -> None:
    with torch.device("meta"):
        ours = {key: list(value.shape) for key, value in UniDet().state_dict().items()}
        released = {key: torch.empty(shape) for key, shape in SPEC.items()}
    assert {key: list(value.shape) for key, value in converted(released).items()} == ours
    assert len(ours) == len(SPEC) == 1960
    buffers = ("pixel_mean", "pixel_std", "proposal_generator.anchor_generator.cell_anchors.0")
    assert converted(dict.fromkeys(buffers, torch.zeros(1))) == {}


@torch.inference_mode()
def test_features_and_proposals(expert, golden) -> None:
    image = torch.from_numpy(golden["image_rgb"][..., ::-1].transpose(2, 0, 1).copy())
    levels = expert.network.pyramid(normalise(image)[None])
    for name, features in zip(("p3", "p4", "p5", "p6", "p7"), levels, strict=True):
        assert_matches(features[0, ::16], golden[f"feat_{name}"])
    ((boxes, logits),) = expert.network.proposals(levels, [(160, 192)])
    assert len(boxes) == golden["num_proposals"]
    assert_matches(boxes[:100], golden["proposals"])
    assert_matches(logits[:100], golden["proposal_logits"])


def test_detections(expert, golden) -> None:
    """At the golden's size, which `prepare` would change; colours in the released models' order."""
    image = torch.from_numpy(golden["image_rgb"][..., ::-1].transpose(2, 0, 1).copy())
    (found,) = expert.predict([image])
    assert found.classes.tolist() == golden["classes"].tolist()
    assert_matches(found.scores, golden["scores"])
    assert_matches(found.boxes, golden["boxes"])
    assert found.size == (160, 192)


def test_label() -> None:
    with np.load(FOLDER / "goldens" / "det" / "objdet_label.npz") as file:
        ids, instances = draw(file["boxes"], file["classes"], file["depth"].shape, file["depth"])
        np.testing.assert_array_equal(ids, file["id_map"])
        assert instances == {int(key): index for key, index in json.loads(str(file["labels"])).items()}


def test_images_together_are_as_alone(expert) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 30, 64), (3, 32, 33), (3, 32, 50)]
    images = [torch.randint(256, shape, generator=generator, dtype=torch.uint8) for shape in shapes]
    together = expert.predict(images)
    assert [found.size for found in together] == [(30, 64), (32, 33), (32, 50)]
    (last,) = expert.predict(images[2:])
    assert torch.equal(last.boxes, together[2].boxes)
    assert torch.equal(last.scores, together[2].scores)
    # One forward, as on a GPU: all three are padded to 32 x 64.
    batch = torch.stack([normalise(image) for image in images])
    with torch.inference_mode():
        batched = expert.network(batch, [found.size for found in together])
    for alone, found in zip(together, batched, strict=True):
        assert len(alone.boxes) > 0
        assert torch.equal(alone.classes, found.classes)
        torch.testing.assert_close(alone.boxes, found.boxes, rtol=0, atol=0.05)
        assert (found.boxes[:, 2:] <= torch.tensor(found.size[::-1])).all()


def test_an_image_gets_a_label_of_its_size(expert, tmp_path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 300, 3), dtype=np.uint8))
    prepared = expert.prepare(image)
    assert prepared.shape == (3, 32, 480)
    assert prepared.dtype == torch.uint8
    in_rgb = unidet.prepare(image, "rgb")
    assert torch.equal(in_rgb.flip(0), prepared)
    (found,) = expert.predict([prepared[..., :64]])
    label = expert.decode(found, Target((20, 40), "image", tmp_path))["obj_detection"]
    assert label.map.shape == (20, 40)
    assert set(np.unique(label.map)) - {255} <= set(label.instances)
    assert len(set(np.unique(label.map)) - {255}) > 1
