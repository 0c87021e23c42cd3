"""Object detection against the original's numbers, with a released file of seeded weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from experts.base import RuntimeConfig, Target
from experts.batches import keep_shape
from experts.detection import proposals, unidet
from experts.detection.label import draw
from experts.detection.network import UniDet, normalise_and_pad
from experts.detection.unidet import converted
from tests.parity.goldens import assert_matches
from tests.parity.released_experts import released, unified
from tests.parity.seeded_weights import seeded_state_dict

FOLDER = Path(__file__).parent
SPEC = released("obj_detection")


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "goldens" / "det" / "unidet.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def expert(tmp_path_factory: pytest.TempPathFactory) -> unidet.UniDetExpert:
    """The network of released size, read from a file like the released one."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(unified(seeded_state_dict(SPEC)), folder / unidet.FILE)
    loaded = unidet.load(["obj_detection"], unidet.Options(), RuntimeConfig(torch.device("cpu"), folder))
    (folder / unidet.FILE).unlink()  # half a gigabyte
    return loaded


def test_released_keys_are_all_used_and_fill_the_network() -> None:
    with torch.device("meta"):
        ours = {key: list(value.shape) for key, value in UniDet().state_dict().items()}
        theirs = {key: torch.empty(shape) for key, shape in SPEC.items()}
    assert {key: list(value.shape) for key, value in converted(theirs).items()} == ours
    assert len(ours) == len(SPEC) == 1960
    buffers = ("pixel_mean", "pixel_std", "proposal_generator.anchor_generator.cell_anchors.0")
    assert converted(dict.fromkeys(buffers, torch.zeros(1))) == {}


@torch.inference_mode()
def test_features_and_proposals(expert, golden) -> None:
    image = torch.from_numpy(golden["image_rgb"][..., ::-1].transpose(2, 0, 1).copy())
    levels = expert.network.pyramid(normalise_and_pad(image)[None])
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


@pytest.fixture
def few_proposals(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the cascade costs goes by their number."""
    monkeypatch.setattr(proposals, "BEST", 16)


@pytest.mark.usefixtures("few_proposals")
def test_images_together_are_as_alone(expert, golden) -> None:
    image = torch.from_numpy(golden["image_rgb"].transpose(2, 0, 1).copy())
    sizes = [(60, 96), (64, 70), (40, 90)]
    images = [image[:, 40 : 40 + height, 50 : 50 + width] for height, width in sizes]
    together = expert.predict(images)
    assert [found.size for found in together] == sizes
    (last,) = expert.predict(images[2:])
    assert torch.equal(last.boxes, together[2].boxes)
    assert torch.equal(last.scores, together[2].scores)
    # One forward, as on a GPU: all three are padded to 64 x 96.
    batch = torch.stack([normalise_and_pad(cut) for cut in images])
    with torch.inference_mode():
        batched = expert.network(batch, sizes)
    assert sum(len(found.boxes) for found in together) > 3
    for alone, found in zip(together, batched, strict=True):
        # Rounding may swap two whose scores are nearly equal.
        apart = (alone.boxes[:, None] - found.boxes).abs().amax(2)  # (n, m), pixels
        alike = (alone.classes[:, None] == found.classes) & (apart < 0.01)
        alike &= (alone.scores[:, None] - found.scores).abs() < 1e-4
        assert alike.sum(0).eq(1).all()
        assert alike.sum(1).eq(1).all()
        assert (found.boxes[:, 2:] <= torch.tensor(found.size[::-1])).all()


@pytest.mark.usefixtures("few_proposals")
def test_an_image_gets_a_label_of_its_size(expert, golden, tmp_path) -> None:
    image = Image.fromarray(golden["image_rgb"][:64])
    prepared = expert.prepare(image)
    assert prepared.shape == (3, 160, 480)
    assert prepared.dtype == torch.uint8
    assert torch.equal(keep_shape(image, "rgb").flip(0), prepared)
    (found,) = expert.predict([prepared])
    assert len(found.boxes) > 1
    label = expert.decode(found, Target((64, 192), "image", tmp_path))["obj_detection"]
    assert label.map.shape == (64, 192)
    assert set(np.unique(label.map)) - {255} <= set(label.instances)
    assert (label.map != 255).any()
