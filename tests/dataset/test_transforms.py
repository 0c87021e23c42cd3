"""The joint transform: labels stay on their image, and random draws are fair."""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop

from dataset.randaugment import Operation, apply
from dataset.samples import ImageConfig
from dataset.transforms import PRE_TRAINING_SCALE, JointTransform, crop_box


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_augmentation_it_only_resizes() -> None:
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (50, 70, 3), dtype=np.uint8))
    label = Image.fromarray(random.integers(0, 256, (50, 70), dtype=np.uint8))
    rgb, labels = JointTransform(32, 16)(image, {"depth": label}, generator())
    assert (rgb.dtype, rgb.shape) == (torch.uint8, (3, 32, 32))
    assert rgb.is_contiguous()
    expected = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    np.testing.assert_array_equal(rgb.numpy(), expected)
    expected = np.asarray(label.resize((16, 16), Image.Resampling.NEAREST))[None]
    np.testing.assert_array_equal(labels["depth"].numpy(), expected)


@pytest.mark.parametrize("packed", [(160, 120), (80, 60), (55, 41)])  # labels may be smaller
@pytest.mark.parametrize("seed", range(8))
def test_labels_stay_on_their_image(seed: int, packed: tuple[int, int]) -> None:
    """A disc in the image and the same disc as its label still overlap after any augmentation."""
    y, x = np.mgrid[:120, :160]
    disc = ((x - 70) ** 2 + (y - 55) ** 2 < 35**2).astype(np.uint8)
    image = Image.fromarray(disc[..., None].repeat(3, 2) * 200 + 20)
    label = Image.fromarray(np.where(disc, 7, 3).astype(np.uint8)).resize(packed, Image.Resampling.NEAREST)
    rgb, labels = JointTransform(96, 48, (0.5, 1.0))(image, {"seg_coco": label}, generator(seed))
    in_image = np.asarray(Image.fromarray(rgb[0].numpy()).resize((48, 48))) > 120
    in_label = labels["seg_coco"][0].numpy() == 7
    assert (in_image & in_label).sum() / (in_image | in_label).sum() > 0.85
    assert set(np.unique(labels["seg_coco"])) <= {3, 7, 255}


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize(
    ("augment", "training", "scale"),
    [(True, True, (0.7, 0.9)), (False, True, None), (True, False, None), (False, False, None)],
)
def test_training_images_alone_are_augmented_and_only_if_that_is_asked(
    augment: bool, training: bool, scale: tuple[float, float] | None, compat: bool
) -> None:
    sizes = {"image_resolution": 8, "label_resolution": 4}
    visual = ImageConfig(
        label_path=".", experts=(), **sizes, augment=augment, crop_scale=(0.7, 0.9), compat=compat, classes={"a": 3}
    )
    assert visual.transform(training) == JointTransform(8, 4, scale, compat)
    assert visual.labels().compat == compat
    assert visual.labels().classes == {"a": 3}


def test_shift_moves_labels_by_a_share_of_their_own_side() -> None:
    image, label = Image.new("RGB", (200, 200), "white"), Image.new("L", (100, 100), 9)
    for compat, shift in ((False, 16), (True, 33)):
        _, moved = apply(Operation.TRANSLATE_X, 1, image, {"depth": label}, compat)
        assert (np.asarray(moved["depth"])[0] == 0).sum() in (shift, shift + 1)


def test_draws_depend_on_the_generator_alone() -> None:
    image = Image.effect_mandelbrot((64, 48), (-2, -1, 1, 1), 50).convert("RGB")
    transform = JointTransform(32, 16, (0.5, 1.0))
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(outputs))
        before = torch.random.get_rng_state()
        outputs.append(transform(image, {}, generator(seed))[0])
        assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("scale", [(0.5, 1.0), PRE_TRAINING_SCALE])
def test_the_crop_is_torchvisions(scale: tuple[float, float]) -> None:
    image = Image.new("RGB", (90, 60))
    boxes = {crop_box(image, scale, generator(seed)) for seed in range(40)}
    assert len(boxes) > 20
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= 90
        assert 0 <= top < bottom <= 60
        assert (right - left) * (bottom - top) > 0.49 * 90 * 60
    seed = int(torch.randint(2**31, (), generator=generator(5)))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        top, left, height, width = RandomResizedCrop.get_params(image, list(scale), [3 / 4, 4 / 3])
    assert crop_box(image, scale, generator(5)) == (left, top, left + width, top + height)


def test_flips_half_of_the_images() -> None:
    ramp = np.arange(64, dtype=np.uint8)[None, :, None].repeat(64, 0).repeat(3, 2) * 4
    image = Image.fromarray(ramp)
    transform = JointTransform(64, 64, (0.5, 1.0))
    flipped = 0
    for seed in range(300):
        rgb = transform(image, {}, generator(seed))[0][0].float()
        flipped += bool(rgb[:, 16:32].mean() > rgb[:, 32:48].mean())
    assert 125 <= flipped <= 175


@pytest.mark.parametrize("compat", [False, True])
def test_two_operations_are_drawn_each_as_likely_as_any(monkeypatch: pytest.MonkeyPatch, compat: bool) -> None:
    seen, samples = Counter(), 300
    signs = []

    def noted(operation: Operation, sign: int, image: Image.Image, labels: dict, told: bool) -> tuple:
        seen[operation] += 1
        signs.append(sign)
        assert told == compat
        return image, {**labels, "depth": labels["depth"].point(lambda level: level + 1)}

    monkeypatch.setattr("dataset.randaugment.apply", noted)
    transform = JointTransform(8, 8, (0.5, 1.0), compat)
    for seed in range(samples):
        _, labels = transform(Image.new("RGB", (9, 9)), {"depth": Image.new("L", (9, 9))}, generator(seed))
        assert (labels["depth"] == 2).all()
    assert seen.keys() == set(Operation)
    assert all(0.6 < count / (2 * samples / len(Operation)) < 1.4 for count in seen.values())
    assert set(signs) == {1, -1}
    assert abs(sum(signs)) < 0.15 * len(signs)
