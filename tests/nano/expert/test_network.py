"""The network and its training targets."""

import numpy as np
import pytest
import torch
from PIL import Image

from dataset.label_files import Word
from experts.base import Label, Target
from experts.dataset_images import ImageFile
from experts.label_writer import write_label
from nano.expert import decode, losses
from nano.expert.backend import FOLDER, LABELS, NanoExpert, prepare, read_network
from nano.expert.network import NanoConfig, NanoNetwork
from nano.expert.training_data import SceneTargets, instance_targets, load_targets
from nano.scenes.scene import render_scene
from nano.scenes.vocabulary import WORDS


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight scenes with exact labels; the first with a word is scene 0."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "set").mkdir()
    for seed in range(8):
        scene = render_scene([5, seed])
        Image.fromarray(scene.image).save(folder / f"set/{seed}.png")
        for name, values in scene.labels.maps.items():
            sidecar = scene.labels.sidecars.get(name, {})
            if name == "ocr_detection":
                words = {0: Word(sidecar["0"]["text"], np.array(sidecar["0"]["features"], np.float32))}
                label = Label(values, words=words)
            elif name == "obj_detection":
                label = Label(values, instances={int(key): index for key, index in sidecar.items()})
            else:
                label = Label(values)
            write_label(folder / "labels", name, f"set/{seed}", label)
    return folder


@pytest.fixture(scope="module")
def targets(data):
    images = [ImageFile(data / f"set/{seed}.png", f"set/{seed}") for seed in range(8)]
    return load_targets(SceneTargets(data, images, WORDS, side=160, background=33), workers=0)


def test_decoding_exact_targets_gives_the_exact_instances():
    scene = render_scene([5, 1])
    exact = {int(key): index for key, index in scene.labels.sidecars["obj_detection"].items()}
    ids = scene.labels.maps["obj_detection"]
    classes, centre, offset = instance_targets(ids, exact, background=33)
    logits = np.eye(34)[classes].transpose(2, 0, 1)
    label = decode.instance_label(logits, centre / 255, offset.astype(np.float32), ids.shape)
    assert sorted(label.instances.values()) == sorted(exact.values())
    assert (label.map != 255).mean() == pytest.approx((ids != 255).mean(), abs=0.01)


def test_every_head_is_trained_and_the_loss_falls(targets):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    network = NanoNetwork(NanoConfig(words=WORDS, widths=(8, 16, 16, 16), head_width=16))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    history = []
    for _ in range(10):
        parts = losses.map_losses(network(targets["images"]), targets)
        parts["word"] = losses.word_loss(network, targets, generator)
        assert set(parts) == set(losses.WEIGHTS)
        total = losses.weighted_sum(parts)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append(total.item())
    assert history[-1] < 0.7 * history[0]
    for head in (network.surfaces, network.things):
        gradients = head[-1].weight.grad.abs().sum((1, 2, 3))
        assert (gradients > 0).all()


def test_committed_weights_label_unseen_scenes_well():
    expert = NanoExpert(read_network(FOLDER), tuple(LABELS), torch.device("cpu"))
    depth_errors, agreement, found, exact, read = [], [], 0, 0, []
    for seed in range(12):
        scene = render_scene([987, seed])
        raw = expert.predict([expert.prepare(Image.fromarray(scene.image))])[0]
        labels = expert.decode(raw, Target(scene.image.shape[:2]))
        maps = scene.labels.maps
        depth_errors.append(np.abs(labels["depth"].map.astype(float) - maps["depth"]).mean() / 255)
        agreement.append((labels["seg_scenes"].map == maps["seg_scenes"]).mean())
        classes = list(labels["obj_detection"].instances.values())
        for index in scene.labels.sidecars["obj_detection"].values():
            exact += 1
            if index in classes:
                classes.remove(index)
                found += 1
        if scene.world.sign:
            words = labels["ocr_detection"].words or {}
            read.append([word.text for word in words.values()] == [scene.world.sign.word])
    assert np.mean(depth_errors) < 0.05
    assert np.mean(agreement) > 0.95
    assert found / exact > 0.75
    assert np.mean(read) > 0.75


def test_a_label_does_not_depend_on_the_other_images_of_the_batch():
    expert = NanoExpert(read_network(FOLDER), tuple(LABELS), torch.device("cpu"))
    images = [Image.fromarray(render_scene([3, seed], long_side=96).image) for seed in range(10)]
    inputs = [prepare(image, expert.network.config.side) for image in images]
    together = expert.predict(inputs)
    alone = expert.predict(inputs[9:])[0]
    for name, values in alone.items():
        if name != "word":
            assert np.array_equal(values, together[9][name]), name
