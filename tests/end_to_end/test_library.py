"""A model goes to the hub and comes back, by a stand-in on this machine; the README's example."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.conftest import ROOT
from tests.end_to_end.hub_api import TOKEN
from tests.end_to_end.hub_server import Hub

NAME = "me/prismer-nano"
IMAGES = sorted(path for path in (ROOT / "helpers" / "images").iterdir() if path.suffix != ".txt")[:2]
PUSH = f"""
from helpers.library import Captioner
model = Captioner.from_pretrained("nano/caption_prismer_nano")
print(model.push_to_hub("{NAME}", private=True, license="apache-2.0", metrics={{"CIDEr": 2.05}}))
"""
CAPTION = f"""
import json, sys
from helpers.library import Captioner
model = Captioner.from_pretrained(sys.argv[1])
images = {[str(path) for path in IMAGES]}
print(json.dumps([(found.text, found.score) for found in model.caption(images)]))
"""
ANSWERS = """
from helpers.cli import run
from helpers.library import Answerer
run(lambda: Answerer.from_pretrained("me/unknown"))
"""
REFUSED = PUSH.replace("print(", "from helpers.cli import run; run(lambda: ")


@pytest.fixture
def hub():
    with Hub() as hub:
        yield hub


def python(code: str, *args: str, hub: Hub, cwd: Path, **changes: str) -> subprocess.CompletedProcess:
    inherited = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    environment = inherited | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HOME": str(cwd / "cache"),
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
    }
    command = [sys.executable, "-c", code, *args]
    return subprocess.run(
        command, cwd=cwd, env=environment | changes, capture_output=True, text=True, timeout=300, check=False
    )


def test_a_model_comes_back_from_the_hub(hub, tmp_path):
    pushed = python(PUSH, hub=hub, cwd=tmp_path)
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout.strip() == f"{hub.url}/{NAME}"
    assert hub.repositories[NAME]["visibility"] == "private"
    names = {name.removeprefix(f"{NAME}/") for name in hub.small}
    assert names >= {"config.json", "model.safetensors", "vocab.json", "merges.txt", "README.md"}
    assert {name for name in names if "/" in name} == {
        f"class_tables/{name}.npz" for name in ("scenes", "detection", "background")
    }
    _, header, text = hub.small[f"{NAME}/README.md"].decode().split("---\n", 2)
    header = yaml.safe_load(header)
    assert (header["license"], header["pipeline_tag"]) == ("apache-2.0", "image-to-text")
    assert "| CIDEr | 2.05 |" in text

    here = python(CAPTION, str(ROOT / "nano" / "caption_prismer_nano"), hub=hub, cwd=tmp_path)
    there = python(CAPTION, NAME, hub=hub, cwd=tmp_path)
    assert there.returncode == 0, there.stderr
    assert json.loads(there.stdout) == json.loads(here.stdout)
    assert hub.fetched("README.md") == []  # only what is read is fetched
    requests = len(hub.requests)
    again = python(CAPTION, NAME, hub=hub, cwd=tmp_path, HF_HUB_OFFLINE="1")
    assert json.loads(again.stdout) == json.loads(here.stdout), again.stderr
    assert len(hub.requests) == requests


@pytest.mark.parametrize(
    ("code", "expected"),
    [(ANSWERS, "model 'me/unknown': no such folder"), (REFUSED, f"'{NAME}': cannot be pushed")],
)
def test_a_mistake_is_one_line(code, expected, hub, tmp_path):
    done = python(code, hub=hub, cwd=tmp_path, HF_TOKEN="hf_wrong")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith(f"error: {expected}")
    assert hub.small == {}


def test_the_example_of_the_readme_runs(hub, tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(from helpers\.library.*?)```", text, re.DOTALL)
    done = python(code, hub=hub, cwd=ROOT, HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip().splitlines()) >= 2
