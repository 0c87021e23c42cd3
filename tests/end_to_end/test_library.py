"""A model is pushed to a local hub and loaded from it; the README's example runs."""

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
IMAGES = sorted((ROOT / "helpers" / "images").glob("*.[jp]*g"))[:2]
CAPTION = f"""
import json, sys
from helpers.inference.captioner import Captioner
model = Captioner.from_pretrained(sys.argv[1])
images = {[str(path) for path in IMAGES]}
captions = [(found.text, found.score) for found in model.caption(images)]
print(json.dumps(captions))
"""
PUSH = f"""
print(model.push_to_hub("{NAME}", private=True, license="apache-2.0", metrics={{"CIDEr": 2.05}}))
"""
MISTAKES = f"""
from helpers.inference.captioner import Answerer, Captioner
from common.errors import UserError
model = Captioner.from_pretrained("nano/caption_prismer_nano")
for mistake in (lambda: Answerer.from_pretrained("me/unknown"), lambda: model.push_to_hub("{NAME}")):
    try:
        mistake()
    except UserError as error:
        print(error)
"""


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
    there_and_back = CAPTION + PUSH + "sys.argv.pop(1)" + CAPTION
    done = python(there_and_back, "nano/caption_prismer_nano", NAME, hub=hub, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    captions, address, fetched = done.stdout.splitlines()
    assert fetched == captions
    assert address == f"{hub.url}/{NAME}"
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

    assert hub.fetched("config.json") == [None]
    assert hub.fetched("README.md") == []  # only what is read
    requests = len(hub.requests)
    again = python(CAPTION, NAME, hub=hub, cwd=tmp_path, HF_HUB_OFFLINE="1")
    assert again.stdout.strip() == captions, again.stderr
    assert len(hub.requests) == requests


def test_mistakes_are_a_line_each(hub, tmp_path):
    done = python(MISTAKES, hub=hub, cwd=tmp_path, HF_TOKEN="hf_wrong")
    assert done.returncode == 0, done.stderr
    unknown, refused = done.stdout.splitlines()
    assert unknown.startswith("model 'me/unknown': no such folder, and it cannot be fetched from the hub (")
    assert refused.startswith(f"'{NAME}': cannot be pushed to {hub.url} (")
    assert hub.small == {}


def test_the_example_of_the_readme_runs(hub, tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(from helpers\.inference\.captioner.*?)```", text, re.DOTALL)
    done = python(code, hub=hub, cwd=ROOT, HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip().splitlines()) >= 2
