"""train_pretrain.py, run in forked processes, on four sources with broken samples."""

import json
import shutil
from pathlib import Path

import pytest

from tests.end_to_end.conftest import read_json, train, write_config


@pytest.fixture(scope="module")
def sources(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scenes as all four sources, three each; one of CC12M and one of Visual Genome are broken."""
    data = tmp_path_factory.mktemp("sources") / "data"
    rows = json.loads((scenes / "coco_karpathy_train.json").read_text())
    captions = {row["image"]: row["caption"] for row in rows}
    chosen = list(captions)[:3]
    for source in ("cc12m/00000", "cc3m_sgu/00000", "vqav2/train2014", "vg/VG_100K"):
        for number, image in enumerate(chosen):
            name = Path(image).stem if source.startswith("vqav2") else f"{number:09d}"
            folder = data / source
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(scenes / "vqav2" / image, folder / f"{name}.jpg")
            if source.startswith("cc"):
                (folder / f"{name}.txt").write_text(captions[image])
            for expert in (scenes / "labels").iterdir():
                for label in (expert / "vqav2" / image).parent.glob(f"{Path(image).stem}.*"):
                    target = data / "labels" / expert.name / source / f"{name}{label.suffix}"
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(label, target)
    (data / "cc12m/00000/000000001.txt").write_text("")
    (data / "vg/VG_100K/000000002.jpg").write_bytes(b"no image")
    coco = [{"image": image, "caption": captions[image]} for image in chosen]
    (data / "coco_karpathy_train.json").write_text(json.dumps(coco))
    genome = [{"image": f"VG_100K/{number:09d}.jpg", "caption": "a solid"} for number in range(3)]
    (data / "vg_caption.json").write_text(json.dumps(genome))
    shutil.copytree(scenes / "vqav2" / "val2014", data / "vqav2" / "val2014")
    for expert in (scenes / "labels").iterdir():
        if (expert / "vqav2" / "val2014").is_dir():
            shutil.copytree(expert / "vqav2/val2014", data / "labels" / expert.name / "vqav2/val2014")
    for name in ("coco_karpathy_test.json", "coco_karpathy_test_gt.json"):
        shutil.copy(scenes / name, data)
    return data


def test_four_sources_train_and_evaluate(sources, tmp_path):
    settings = {f"{source}_data_path": str(sources) for source in ("cc12m", "cc3m", "coco", "vg")}
    settings |= {"dataset": ["cc12m", "cc3m_sgu", "coco", "vg"], "captions_per_image": 1, "batch_size_train": 4}
    config = write_config(tmp_path / "pretrain.yaml", sources, **settings, max_length=16, metrics=["cider"])
    done = train("pretrain", config, tmp_path)
    assert "12 samples, global batch 4, 6 steps" in done.stdout
    assert "skipped so far: 2 samples" in done.stdout
    assert "000000001.txt: it has no words" in done.stderr
    folder = tmp_path / "logging" / "pretrain_tiny"
    epochs = read_json(folder / "metrics.jsonl")
    assert [record["skipped"] for record in epochs] == [2, 2]
    assert epochs[1]["train_loss"] < epochs[0]["train_loss"]
    assert len(read_json(folder / "results" / "coco_epoch_2.json")) == 4
    assert "CIDEr" in train("pretrain", config, tmp_path, "--evaluate").stdout
