"""download_checkpoints.py, run as a user does, against a local server in place of the hub and GitHub.

The files have their true names and small contents. The hashes of GitHub's files are fixed, so `WRAPPER` replaces
them with those of the contents; it also skips waiting before retries.
"""

import hashlib
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from helpers.checkpoints import released
from helpers.checkpoints.released import SOURCE
from tests.end_to_end.conftest import ROOT
from tests.end_to_end.hub_server import Fault, Hub

MODEL = "shikunl/prismer/vqa_prismerz_base/pytorch_model.bin"
MODEL_FILE = Path("logging/vqa_prismerz_base/pytorch_model.bin")
LARGE = {".bin", ".safetensors", ".pth", ".pt", ".pkl"}
WRAPPER = """
import dataclasses, json, runpy, sys, time
time.sleep = lambda seconds: None
from helpers.checkpoints import released
facts = json.loads(sys.argv.pop(1))
for name in ("TABLES", "WORDS"):
    files = (dataclasses.replace(file, **facts[file.path]) for file in getattr(released, name))
    setattr(released, name, tuple(files))
sys.argv[0] = "download_checkpoints.py"
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


def contents(name: str) -> bytes:
    """Bytes that differ from file to file."""
    return hashlib.sha256(name.encode()).digest() * (len(name) + 200)


@pytest.fixture
def hub():
    """All released files, and some others."""
    names = [f"shikunl/prismer/{model}/pytorch_model.bin" for model in released.MODELS]
    names += [f"shikunl/prismer/expert_weights/{name}" for name in released.EXPERTS]
    tokenizer = ("vocab.json", "merges.txt", "tokenizer.json")
    for text in ("FacebookAI/roberta-base", "FacebookAI/roberta-large", released.TEXT_EMBEDDING):
        names += [f"{text}/{name}" for name in ("config.json", "model.safetensors", "flax_model.msgpack", *tokenizer)]
    for vision in released.VISION_BACKBONES:
        names += [f"{vision}/{name}" for name in ("config.json", "pytorch_model.bin", "tf_model.h5")]
    large = {name: contents(name) for name in names if Path(name).suffix in LARGE}
    small = {name: contents(name) for name in names if name not in large}
    raw = {f"{SOURCE}/{file.path}": contents(file.path) for file in (*released.TABLES, *released.WORDS)}
    raw[f"{SOURCE}/dataset/clip_pca.pkl"] = pickled_pca()
    with Hub(large, small, raw) as hub:
        yield hub


def pickled_pca() -> bytes:
    """A pickle as scikit-learn makes it."""
    module = ModuleType("sklearn.decomposition._pca")
    module.PCA = type("PCA", (), {"__module__": module.__name__})
    pca = module.PCA()
    random = np.random.default_rng(0)
    pca.mean_, pca.components_ = random.normal(size=768), random.normal(size=(64, 768))
    pca.n_components, pca.svd_solver, pca.noise_variance_ = 64, "auto", np.float64(0.5)
    packages = {"sklearn": ModuleType("sklearn"), "sklearn.decomposition": ModuleType("sklearn.decomposition")}
    with pytest.MonkeyPatch.context() as patch:
        for name, entry in {**packages, module.__name__: module}.items():
            patch.setitem(sys.modules, name, entry)
        return pickle.dumps(pca)


def command(hub: Hub, *args: str) -> list[str]:
    """The script with the hashes of the server's raw files."""
    facts = {
        file.path: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for file in (*released.TABLES, *released.WORDS)
        for content in [hub.raw[f"{SOURCE}/{file.path}"]]
    }
    return [sys.executable, "-c", WRAPPER, json.dumps(facts), str(ROOT / "download_checkpoints.py"), *args]


def environment(hub: Hub, folder: Path, **changes: str) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    return inherited | {
        "PYTHONPATH": str(ROOT),
        "HF_HOME": str(folder / "cache"),
        "HF_ENDPOINT": hub.url,
        "PRISMER_RAW_ENDPOINT": hub.url,
        **changes,
    }


def run(hub: Hub, folder: Path, *args: str, **changes: str) -> subprocess.CompletedProcess:
    """Runs the script in a new folder."""
    return subprocess.run(
        command(hub, *args),
        cwd=folder,
        env=environment(hub, folder, **changes),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def error_of(done: subprocess.CompletedProcess) -> str:
    """The last line on stderr of a failed run; the hub's library warns of its retries before."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_the_experts_get_all_they_read(hub, tmp_path):
    hub.faults["shikunl/prismer/expert_weights/scannet.pt"] = Fault("cut")
    hub.faults["shikunl/prismer/expert_weights/10_model.pth"] = Fault("busy")
    done = run(hub, tmp_path, "--download_experts=True")
    assert done.returncode == 0, done.stderr
    weights, tables = tmp_path / "experts" / "expert_weights", tmp_path / "data" / "class_tables"
    for name in released.EXPERTS:
        assert (weights / name).read_bytes() == contents(f"shikunl/prismer/expert_weights/{name}")
    assert sorted(path.name for path in tables.iterdir()) == [
        f"{name}_features.pt" for name in ("ade", "background", "coco", "detection")
    ]
    assert {path.name for path in weights.iterdir()} == {
        *released.EXPERTS,
        *("clip_pca.pkl", "clip_pca.npz", "GenericVocabulary.txt"),
    }
    with np.load(weights / "clip_pca.npz", allow_pickle=False) as arrays:
        random = np.random.default_rng(0)
        np.testing.assert_array_equal(arrays["mean"], random.normal(size=768))
        np.testing.assert_array_equal(arrays["components"], random.normal(size=(64, 768)))
    # Resumed where it was cut; asked again where the server was busy; one bar for all.
    content = hub.large["shikunl/prismer/expert_weights/scannet.pt"]
    assert hub.fetched("storage/shikunl/prismer/expert_weights/scannet.pt") == [None, f"bytes={len(content) // 2}-"]
    assert "100%" in done.stderr
    assert "10_model.pth" in done.stderr
    assert "experts/expert_weights/dpt_hybrid-midas-501f0c75.pt" in done.stdout

    # A second run fetches nothing, and says so.
    hub.requests.clear()
    again = run(hub, tmp_path, "--download_experts")
    assert again.returncode == 0, again.stderr
    assert "nothing to fetch: all files are present" in again.stdout
    assert not hub.fetched("")

    # Without a network, present files are found, and cached ones are linked.
    (weights / "10_model.pth").unlink()
    offline = run(hub, tmp_path, "--download_experts=True", HF_HUB_OFFLINE="1")
    assert offline.returncode == 0, offline.stderr
    assert "not checked: offline" in offline.stdout
    assert (weights / "10_model.pth").read_bytes() == contents("shikunl/prismer/expert_weights/10_model.pth")
    assert not hub.fetched("")

    # Damaged files are replaced with --overwrite alone, since they may be the user's own. The linked file in
    # the cache is damaged, too.
    (weights / "scannet.pt").write_bytes(b"truncated")
    (tables / "ade_features.pt").write_bytes(b"truncated")
    assert "replace it with --overwrite" in error_of(run(hub, tmp_path, "--download_experts", "--hide_tqdm"))
    mended = run(hub, tmp_path, "--download_experts=True", "--hide_tqdm=True", "--overwrite")
    assert mended.returncode == 0, mended.stderr
    assert (weights / "scannet.pt").read_bytes() == content
    assert (tables / "ade_features.pt").read_bytes() == contents("dataset/ade_features.pt")
    assert mended.stderr == ""


def cached_files(folder: Path) -> dict[tuple[str, str], Path]:
    """The files in the hub's cache, by repository and name."""
    repositories = (folder / "cache" / "hub").glob("models--*")
    return {
        (repository.name.removeprefix("models--").replace("--", "/"), "/".join(path.parts[-depth:])): path
        for repository in repositories
        for depth in (1, 2)
        for path in repository.glob("snapshots/*" + depth * "/*")
        if path.is_file()
    }


TOKENIZER = ("vocab.json", "merges.txt", "tokenizer.json")


def test_models_by_name_are_linked_to_the_cache_with_their_tokenizer(hub, tmp_path):
    names = ["vqa_prismerz_base", "caption_prismer_large"]
    done = run(hub, tmp_path, f"--download_models={names}", "--hide_tqdm=True")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = cached_files(tmp_path)
    weights = {("shikunl/prismer", f"{name}/pytorch_model.bin") for name in names}
    assert found.keys() == weights | {("roberta-base", name) for name in TOKENIZER}
    assert (tmp_path / MODEL_FILE).read_bytes() == contents(MODEL)
    assert (tmp_path / MODEL_FILE).samefile(found["shikunl/prismer", "vqa_prismerz_base/pytorch_model.bin"])
    assert {path.parent.name for path in (tmp_path / "logging").rglob("*.bin")} == set(names)


def test_all_models_and_the_backbones(hub, tmp_path):
    done = run(hub, tmp_path, "--download_models=True", "--download_backbones=True", "--hide_tqdm=True")
    assert done.returncode == 0, done.stderr
    assert {path.parent.name for path in (tmp_path / "logging").rglob("pytorch_model.bin")} == set(released.MODELS)
    found = {(repository, name) for repository, name in cached_files(tmp_path) if repository != released.REPOSITORY}
    text = ("roberta-base", "roberta-large", released.TEXT_EMBEDDING)
    assert found == {
        *((name, file) for name in released.VISION_BACKBONES for file in ("config.json", "pytorch_model.bin")),
        *((name, file) for name in text for file in ("config.json", "model.safetensors", *TOKENIZER)),
    }


def bytes_of_incomplete_files(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.incomplete"))


def test_an_interrupted_run_is_continued_by_the_next(hub, tmp_path):
    hub.large[MODEL] = content = contents(MODEL) * 100
    hub.faults[MODEL] = Fault("stall")
    half = len(content) // 2
    running = subprocess.Popen(
        command(hub, "--download_models=vqa_prismerz_base"),
        cwd=tmp_path,
        env=environment(hub, tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that run in a shell's background are started with the signal ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert hub.stalled.wait(240)
        end = time.monotonic() + 240
        while bytes_of_incomplete_files(tmp_path) < half - io.DEFAULT_BUFFER_SIZE:  # so much may be on its way
            assert time.monotonic() < end
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=240)
    finally:
        running.kill()
    assert running.returncode == 130
    assert errors.strip().endswith("interrupted")
    assert not (tmp_path / MODEL_FILE).exists()
    hub.requests.clear()
    done = run(hub, tmp_path, "--download_models=vqa_prismerz_base")
    assert done.returncode == 0, done.stderr
    assert "fetched before" in done.stdout
    assert hub.fetched(f"storage/{MODEL}") == [f"bytes={half}-"]
    assert (tmp_path / MODEL_FILE).read_bytes() == content


def test_weights_of_ones_own_are_replaced_only_when_told_to(hub, tmp_path):
    own = tmp_path / MODEL_FILE
    own.parent.mkdir(parents=True)
    own.write_bytes(b"trained for weeks")
    args = ("--download_models", "vqa_prismerz_base", "--hide_tqdm=True")
    error = error_of(run(hub, tmp_path, *args))
    assert error == (
        f"error: {MODEL_FILE}: not written by download_checkpoints.py, or changed since; move it "
        "away if it is your own, or replace it with --overwrite"
    )
    assert own.read_bytes() == b"trained for weeks"
    done = run(hub, tmp_path, *args, "--force_redownload=True")
    assert done.returncode == 0, done.stderr
    assert own.read_bytes() == contents(MODEL)
    # It also fetches an intact file again.
    hub.requests.clear()
    assert run(hub, tmp_path, *args, "--force_redownload=True").returncode == 0
    assert hub.fetched(f"storage/{MODEL}") == [None]


def test_nothing_chosen_is_no_error(hub, tmp_path):
    done = run(hub, tmp_path, "--download_experts=False", "--download_models=False")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: ")
    assert "the files of the six experts" in done.stdout


def test_the_pca_alone(hub, tmp_path):
    done = run(hub, tmp_path, "--download_pca=True", "--hide_tqdm")
    assert done.returncode == 0, done.stderr
    assert [request[:2] for request in hub.requests] == [("HEAD", ""), ("GET", f"{SOURCE}/dataset/clip_pca.pkl")]
    folder = tmp_path / "experts" / "expert_weights"
    assert sorted(path.name for path in folder.iterdir()) == ["clip_pca.npz", "clip_pca.pkl"]


@pytest.mark.parametrize(
    ("names", "message"),
    [("", "no name is given"), ("vqa_prismer_bass", f"'vqa_prismer_bass'; there are: {', '.join(released.MODELS)}")],
)
def test_a_wrong_name_is_a_mistake(hub, tmp_path, names, message):
    assert message in error_of(run(hub, tmp_path, f"--download_models={names}"))
    assert not hub.requests


UNREACHABLE = [
    ({"HF_HUB_OFFLINE": "1"}, "and HF_HUB_OFFLINE is set; unset it to fetch it"),
    ({"HF_ENDPOINT": "http://127.0.0.1:1"}, "http://127.0.0.1:1: cannot be reached ("),
    ({"ALL_PROXY": "ftp://127.0.0.1:1"}, "no connection can be made (Unknown scheme for proxy URL"),
    ({"HTTP_PROXY": "http://127.0.0.1:port"}, "check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY"),
    ({"SSL_CERT_FILE": "/nowhere"}, "and SSL_CERT_FILE"),
]


@pytest.mark.parametrize(
    ("changes", "message"), UNREACHABLE, ids=["offline", "unreachable", "proxy", "port", "certificates"]
)
def test_a_missing_connection_is_one_line_at_once(hub, tmp_path, changes, message):
    done = run(hub, tmp_path, "--download_models=vqa_prismerz_base", "--hide_tqdm", **changes)
    assert message in error_of(done)
    assert len(done.stderr.splitlines()) == 1  # no retries


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "has no file vqa_prismerz_base/pytorch_model.bin; check HF_ENDPOINT"),
        ("refused", "the server answers 401; check the token (HF_TOKEN, hf auth login)"),
        ("other", "size or hash"),
        ("gone", f"{MODEL}: the server answers 404"),
    ],
)
def test_a_file_that_the_hub_does_not_give_is_one_line(hub, tmp_path, kind, message):
    if kind == "missing":
        del hub.large[MODEL]
    hub.faults[MODEL] = Fault(kind)
    assert message in error_of(run(hub, tmp_path, "--download_models=vqa_prismerz_base", "--hide_tqdm"))
    assert not (tmp_path / MODEL_FILE).exists()
    assert not list((tmp_path / "cache").rglob("*.incomplete")) or kind == "gone"


@pytest.mark.parametrize("where", ["logging", MODEL_FILE / "inside"])
def test_what_is_in_the_way_is_said_in_a_line(hub, tmp_path, where):
    """A file where a folder must be, and a folder where a file must be."""
    (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / where).touch()
    args = ("--download_models=vqa_prismerz_base", "--hide_tqdm", "--force_redownload")
    error = error_of(run(hub, tmp_path, *args))
    assert error.startswith("error: logging")
    assert "Not a directory" in error or "is a folder" in error
