"""What is released belongs where the rest of the project looks for it."""

from importlib import import_module
from pathlib import Path

import pytest

from common.errors import UserError
from experts.registry import BACKENDS
from experts.runner import WEIGHTS
from helpers.checkpoints.experiments import experiment_folder, find_experiment, find_model
from helpers.checkpoints.released import EXPERT_WEIGHTS, MODELS, PCA_ARRAYS, TABLES, experts, models
from tests.end_to_end.conftest import ROOT


def test_the_twelve_checkpoints_go_into_folders_of_experiments():
    assert len(MODELS) == 12
    targets = {file.target.parent for file in models(MODELS) if file.target and file not in TABLES}
    assert targets == {
        experiment_folder(task, f"{model}_{size}")
        for task in ("pretrain", "caption", "vqa")
        for model in ("prismer", "prismerz")
        for size in ("base", "large")
    }


def test_experts_find_their_files():
    assert EXPERT_WEIGHTS == WEIGHTS
    assert {file.target.parent for file in experts() if file.target} == {WEIGHTS, Path("data/class_tables")}


@pytest.mark.parametrize(("expert", "name"), [(expert, name) for expert, names in BACKENDS.items() for name in names])
def test_every_released_file_that_a_backend_reads_is_fetched(expert, name):
    module = import_module(BACKENDS[expert][name])
    fetched = {PCA_ARRAYS, *(file.target for file in experts())}
    read = {path for path in module.files([expert], module.Options(), WEIGHTS) if WEIGHTS in path.parents}
    assert read <= fetched


def test_prismerz_needs_no_class_tables():
    assert not set(TABLES) & set(models(("vqa_prismerz_base",)))
    assert set(TABLES) <= set(models(("vqa_prismerz_base", "vqa_prismer_base")))


def test_a_released_experiment_that_is_not_here_names_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"download_checkpoints\.py --download_models=vqa_prismerz_large"):
        find_experiment("vqa", "prismerz_large")


def test_own_weights_come_before_embedded_ones_which_a_path_names(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    embedded, own = ROOT / "nano" / "caption_prismer_nano", Path("logging/caption_prismer_nano")
    assert find_model("caption", "prismer_nano") == embedded
    assert capsys.readouterr().err == ""
    own.mkdir(parents=True)
    (own / "model.safetensors").touch()
    assert find_model("caption", "prismer_nano") == own
    assert f"note: {own} is shown, not the project's nano/caption_prismer_nano" in capsys.readouterr().err
    assert find_model("caption", str(embedded)) == embedded
    with pytest.raises(UserError, match="nano/caption_prismer: no weights there"):
        find_model("caption", "nano/caption_prismer")


def test_hashes_of_the_docs_are_those_that_are_checked():
    text = (ROOT / "docs" / "downloads.md").read_text()
    for file in experts():
        if hasattr(file, "sha256"):
            assert f"| `{file.path}` | {file.size} | `{file.sha256}` |" in text
