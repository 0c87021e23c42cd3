"""A mistake in settings, flags or lists ends each training script with one line, before anything is written."""

from pathlib import Path

import pytest

from tests.end_to_end.conftest import write_caption_config, write_config
from tests.forked_script import forked_script

EVALUATE = ("--evaluate",)
DRY = ("--dry_run",)
FEW = ("--answers", "few.txt")
NO_PRETRAINED = "no weights of experiment 'tiny' in logging/pretrain_tiny"


def config_for(task: str, scenes: Path, work: Path, changes: dict[str, object]) -> Path:
    path = work / f"{task}.yaml"
    if task == "caption":
        return write_caption_config(path, scenes, **changes)
    data = {"vqa": {"data_path": str(scenes), "from_scratch": True}}
    data["pretrain"] = {f"{source}_data_path": str(scenes) for source in ("cc12m", "coco")}
    return write_config(path, scenes, **data[task] | changes)


@pytest.mark.parametrize(
    ("task", "changes", "flags", "message"),
    [
        ("caption", {"learning_rate": 1}, (), "unknown key 'learning_rate'"),
        ("caption", {"data_path": "nowhere"}, (), "nowhere"),
        ("caption", {"label_path": "nowhere"}, (), "label folder nowhere/depth/vqav2 is missing"),
        ("caption", {"class_tables": "nowhere"}, (), "nowhere"),
        ("caption", {"experts": ["dept"]}, (), "unknown expert 'dept'"),
        ("caption", {"max_caption_tokens": 65}, (), "the text tower of prismer_nano reads 64 tokens at most"),
        ("caption", {"prismer_model": "prismer_tiny"}, (), "unknown prismer_model 'prismer_tiny'"),
        ("caption", {}, ("--from_checkpoint",), "no weights of experiment 'tiny'"),
        ("caption", {"from_scratch": False}, (), f"{NO_PRETRAINED}; there is none for pretrain yet; set 'from_scr"),
        ("caption", {}, ("--target_dataset", "flickr"), "no section 'flickr'; it has: coco"),
        (
            "caption",
            {},
            ("--evaluate", "--exp_name", "prismer_nano"),
            "--from_checkpoint evaluates caption_prismer_nano",
        ),
        (
            "caption",
            {},
            ("--output_dir", "/proc/x", *DRY),
            "folder /proc cannot be written to; choose another --output_dir",
        ),
        ("caption", {"prefix": "A picture of", "max_length": 4, "min_length": 1}, DRY, "max_length 4 is no more than"),
        ("caption", {"prefix": "A picture of", "max_caption_tokens": 5}, DRY, "no room in the 5 tokens of a training"),
        ("vqa", {"num_beams": 335}, DRY, "num_beams 335 is more than half of the 668 tokens"),
        ("caption", {}, ("--full_shard",), "--full_shard needs several processes"),
        ("vqa", {"dataset": ["vqav3"]}, (), "key 'dataset.0'"),
        ("vqa", {"k_test": 0}, (), "key 'k_test'"),
        ("vqa", {"min_new": 3, "max_new": 2}, (), "vqa.yaml: min_new 3 is more than max_new 2"),
        ("vqa", {"answer_list": "none.json"}, (), "none.json: No such file"),
        ("vqa", {"inference": "generate"}, FEW, "--answers needs 'rank'"),
        ("vqa", {}, FEW, "few.txt: answer 2 is ''; expected a text"),
        ("vqa", {"from_scratch": False}, (), NO_PRETRAINED),
        ("pretrain", {"dataset": ["cc3m_sgu"], "cc3m_data_path": None}, (), "key 'cc3m_data_path' is missing"),
        ("pretrain", {"dataset": ["cc12m"], "cc12m_data_path": "nowhere"}, (), "data_path nowhere is missing"),
        ("pretrain", {"test_dataset": None}, EVALUATE, "--evaluate needs"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(scenes, tmp_path, task, changes, flags, message):
    (tmp_path / "few.txt").write_text("yes\n\nno\n")
    config = config_for(task, scenes, tmp_path, changes)
    done = forked_script(f"train_{task}.py", "--exp_name", "tiny", "--config", config, *flags, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "logging").exists()
