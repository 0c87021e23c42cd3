"""The Scenes data set: files, exact labels, class tables, command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from common.errors import UserError
from common.overwrite import NOTES
from model.modalities import BACKGROUND, MODALITIES
from nano.scenes.__main__ import main
from nano.scenes.scene import render_scene
from nano.scenes.vocabulary import DETECTION_CLASSES, SCENES_CLASSES, TABLES, WORDS, embed

SCENES = [render_scene([3, 0, index], long_side=128) for index in range(24)]


def run(folder: Path, *more: str) -> None:
    main(["--out", str(folder), "--train", "9", "--test", "3", "--seed", "5", "--size", "64", *more])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def differences(one: dict[str, bytes], two: dict[str, bytes]) -> set[str]:
    return {name for name in one.keys() | two.keys() if one.get(name) != two.get(name)}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    run(folder, "--workers", "1")
    return folder


def test_same_bytes_for_any_number_of_workers(data, tmp_path):
    run(tmp_path, "--workers", "2")
    assert differences(contents(tmp_path), contents(data)) == set()


def test_resumes_without_touching_what_is_there(tmp_path):
    run(tmp_path, "--workers", "1")
    before = contents(tmp_path)
    images = sorted(tmp_path.rglob("SCENE_*.jpg"))
    kept = images[1].stat().st_mtime_ns
    images[0].unlink()
    next(tmp_path.rglob("labels/depth/**/*.png")).unlink()
    run(tmp_path, "--workers", "1")
    assert differences(contents(tmp_path), before) == set()
    assert images[1].stat().st_mtime_ns == kept


def test_layout_is_that_of_coco_and_vqav2(data):
    read = {path.stem: json.loads(path.read_text()) for path in data.glob("*.json")}
    images = {row["image"] for row in read["coco_karpathy_train"]}
    assert images == {f"train2014/SCENE_train2014_{i:012d}.jpg" for i in range(9)}
    assert len(read["coco_karpathy_train"]) == 9 * 5
    assert all(len(row["caption"]) == 5 for row in read["coco_karpathy_test"])
    truth = COCO(str(data / "coco_karpathy_test_gt.json"))
    for row in read["coco_karpathy_test"]:
        image = int(Path(row["image"]).stem.split("_")[-1])
        assert [a["caption"] for a in truth.imgToAnns[image]] == row["caption"]
    answers = set(read["answer_list"])
    keys = {"dataset", "image", "question", "answer", "weight", "type"}
    assert all(set(row) == keys for row in read["vqav2_train_val"])
    assert all(row["answer"] in answers for row in read["vqav2_train_val"])
    assert all(len(row["answer"]) == 10 and row["answer"][0] in answers for row in read["vqav2_test"])
    assert len({row["question_id"] for row in read["vqav2_test"]}) == 3 * 10
    for row in [*read["vqav2_train_val"], *read["vqav2_test"]]:
        assert (data / "vqav2" / row["image"]).is_file()


def test_label_files_fit_their_images(data):
    for image in (data / "vqav2").rglob("*.jpg"):
        size = Image.open(image).size
        for name in ("depth", "normal", "seg_scenes", "edge", "obj_detection", "ocr_detection"):
            path = data / "labels" / name / image.relative_to(data).with_suffix(".png")
            if name == "ocr_detection" and not path.stat().st_size:
                assert not path.with_suffix(".json").exists()
                continue
            label = Image.open(path)
            assert label.size == size
            assert len(label.getbands()) == MODALITIES[name].channels
            if MODALITIES[name].sidecars:
                ids = set(np.unique(np.asarray(label)).tolist()) - {BACKGROUND}
                assert ids == {int(key) for key in json.loads(path.with_suffix(".json").read_text())}


def test_no_labels_option(tmp_path):
    run(tmp_path, "--workers", "1", "--no-labels")
    assert len(list(tmp_path.rglob("*.jpg"))) == 12
    assert not (tmp_path / "labels").exists()


@pytest.mark.parametrize("index", range(len(SCENES)))
def test_instances_agree_with_segments_and_words(index):
    scene = SCENES[index]
    instance, segment = scene.labels.maps["obj_detection"], scene.labels.maps["seg_scenes"]
    assert ((instance == BACKGROUND) == (segment < 2)).all()
    for key, kind in scene.labels.sidecars["obj_detection"].items():
        mask = instance == int(key)
        assert mask.sum() > 30
        name = DETECTION_CLASSES[kind].split()[-1]
        assert (segment[mask] == SCENES_CLASSES.index(name)).all()
    signs = segment == SCENES_CLASSES.index("sign")
    assert signs.any() == ("ocr_detection" in scene.labels.maps)
    if signs.any():
        word = scene.labels.maps["ocr_detection"] == 0
        assert 0.3 * signs.sum() < word.sum() < signs.sum()
        assert signs[word].all()
        entry = scene.labels.sidecars["ocr_detection"]["0"]
        assert entry["text"] in WORDS
        np.testing.assert_array_equal(np.float32(entry["features"]), embed(entry["text"]))


@pytest.mark.parametrize("index", range(len(SCENES)))
def test_quantities(index):
    maps = SCENES[index].labels.maps
    segment = maps["seg_scenes"]
    normal = maps["normal"] / 127.5 - 1
    np.testing.assert_allclose(np.linalg.norm(normal, axis=2), 1, atol=0.012)
    assert (normal[segment == 0] @ [0, 0, 1] > 0.99).all()
    assert len(np.unique(maps["normal"][segment == 1], axis=0)) == 1  # the ground is flat
    assert (normal[segment > 1][:, 2] > -0.4).mean() > 0.999  # visible surfaces face the camera
    depth = maps["depth"].astype(int)
    assert depth.min() == 0
    assert depth.max() == 255
    assert (depth[segment == 0] == 0).all()
    ground = segment == 1
    pairs = ground[1:] & ground[:-1]
    assert (np.diff(depth, axis=0)[pairs] >= 0).all()  # nearer is brighter, down each column
    edge = maps["edge"]
    assert edge.min() == 0
    instance = maps["obj_detection"]
    border = np.zeros(instance.shape, bool)
    border[:, 1:] = instance[:, 1:] != instance[:, :-1]
    assert edge[border].mean() < 185
    assert np.median(edge[~border]) > 250


def test_colours_of_the_image_are_those_of_the_classes():
    hits = total = 0
    for scene in SCENES:
        for key, index in scene.labels.sidecars["obj_detection"].items():
            name = DETECTION_CLASSES[index].split()[0]
            if name not in ("red", "green", "blue"):
                continue
            mean = scene.image[scene.labels.maps["obj_detection"] == int(key)].mean(0)
            hits += ("red", "green", "blue")[int(mean.argmax())] == name
            total += 1
    assert total > 10
    assert hits == total


def test_scenes_vary():
    assert len({scene.image.shape for scene in SCENES}) == 3
    assert {len(scene.world.solids) for scene in SCENES} >= {1, 2, 3, 4, 5}
    assert 6 <= sum(scene.world.sign is not None for scene in SCENES) <= 18


def test_committed_tables_are_what_the_command_writes(tmp_path):
    main(["--tables", str(tmp_path)])
    for name in (*TABLES, "background"):
        with np.load(tmp_path / f"{name}.npz") as new, np.load(f"nano/tables/{name}.npz") as old:
            assert new.files == old.files
            for key in new.files:
                np.testing.assert_array_equal(new[key], old[key])
    features = np.load("nano/tables/detection.npz")["features"]
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    similarity = features @ embed("red cube")
    assert DETECTION_CLASSES[int(similarity.argmax())] == "red cube"


def test_demo_images(tmp_path):
    main(["--demo", str(tmp_path)])
    paths = sorted(path for path in tmp_path.iterdir() if path.name != NOTES)
    assert len(paths) == 6
    assert {path.suffix for path in paths} == {".png", ".jpg", ".jpeg"}
    assert sum("sign" in path.name for path in paths) == 3
    assert {path.name for path in paths} <= {path.name for path in Path("helpers/images").iterdir()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "DIR", "--train", "-1"], "--train -1 is out of range"),
        (["--out", "DIR", "--train", "1", "--workers", "0"], "--workers 0 is out of range"),
        (["--out", "DIR"], "no scenes asked for"),
        ([], "nothing to do"),
        (["--out", "FILE/x", "--train", "1"], "Not a directory"),
        (["--tables", "FILE/x"], "Not a directory"),
    ],
)
def test_mistakes_are_named(arguments, message, tmp_path):
    (tmp_path / "file").write_text("")
    names = {"DIR": str(tmp_path / "new"), "FILE/x": str(tmp_path / "file" / "x")}
    with pytest.raises(UserError, match=message):
        main([names.get(argument, argument) for argument in arguments])
    assert not (tmp_path / "new").exists()


def test_scenes_of_two_seeds_are_not_mixed(data):
    with pytest.raises(UserError, match=r"scenes\.json names other scenes"):
        main(["--out", str(data), "--train", "9", "--seed", "6", "--size", "64"])
