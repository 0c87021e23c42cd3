"""The command of docs/data.md for crawls, run with img2dataset itself on a web server with broken images."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.file_server import FileServer
from dataset.pretraining import pretraining_dataset
from dataset.samples import ImageConfig

DOCS = Path(__file__).parents[3] / "docs" / "data.md"
IMAGES = 200


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Images; every tenth is missing, and every tenth damaged."""
    folder = tmp_path / "site"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(IMAGES):
        if number % 10 == 3:
            (folder / f"{number}.jpg").write_bytes(b"no image")
        elif number % 10 != 7:
            pixels = random.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.jpg")
    return folder


def command() -> list[str]:
    text = DOCS.read_text(encoding="utf-8")
    found = re.search(r"```bash\n(img2dataset .*?)```", text, re.DOTALL).group(1)
    return shlex.split(found.replace("\\\n", " "))


def test_what_img2dataset_writes_is_read(site: Path, tmp_path: Path) -> None:
    arguments = command()
    assert arguments[arguments.index("--url_list") + 1] == "filtered_cc12m.json"
    assert arguments[arguments.index("--output_folder") + 1] == "data/cc12m"
    # Fewer processes, smaller shards: there are but 200 images.
    for flag, value in (("processes_count", 1), ("thread_count", 8), ("number_sample_per_shard", 100)):
        arguments[arguments.index(f"--{flag}") + 1] = str(value)
    (tmp_path / "data").mkdir()
    with FileServer(site) as server:
        rows = [{"url": f"{server.url}/{i}.jpg", "caption": f"A picture, number {i}."} for i in range(IMAGES)]
        (tmp_path / "filtered_cc12m.json").write_text(json.dumps(rows))
        done = subprocess.run(
            [str(Path(sys.executable).with_name("img2dataset")), *arguments[1:]],
            cwd=tmp_path,
            env=os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    visual = ImageConfig(
        label_path=tmp_path / "none", experts=(), image_resolution=32, label_resolution=16, augment=False
    )
    data = pretraining_dataset({"cc12m": tmp_path / "data"}, visual)
    assert len(data) == IMAGES * 8 // 10
    captions = {data[index]["caption"][0] for index in range(len(data))}
    assert captions == {f"a picture, number {i}" for i in range(IMAGES) if i % 10 not in (3, 7)}
    assert data.skipped == []
    assert set(data.sources[0].shards.tolist()) == {0, 1}
