"""What accelerate is told and nothing here reads is refused by its name."""

import os
import sys

import psutil
import pytest

import launch as launcher_script
from common.errors import UserError
from helpers.training.distribution.launch_settings import check_launch

LAUNCHERS = (
    ["python", "-m", "accelerate.commands.launch"],
    ["python", "/env/bin/accelerate", "launch"],
    ["/env/bin/python", "/env/bin/accelerate-launch"],
    ["python", "launch.py"],
)


@pytest.fixture
def launch(monkeypatch):
    """Makes this process look as if it had been launched by a command."""
    for name in [name for name in os.environ if name.startswith("ACCELERATE_")]:
        monkeypatch.delenv(name)

    def launched(*command: str, script: str = "train_caption.py") -> None:
        parents = [
            ["sh"],
            list(command),
            ["python", "accelerate", "launch", "--gradient_clipping", "1", "x.py"],
        ]
        processes = [type("Process", (), {"cmdline": lambda _, words=words: words})() for words in parents]
        monkeypatch.setattr(psutil.Process, "parents", lambda _: processes)
        monkeypatch.setattr(sys, "argv", [script])

    return launched


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_flags_that_are_dropped_are_refused(launch, launcher):
    script = ("train_caption.py", "--exp_name", "--gradient_clipping")
    launch(*launcher, "--gradient-accumulation-steps", "4", *script)
    with pytest.raises(UserError, match=r"gradient_accumulation_steps .*set accumulate_steps"):
        check_launch()
    launch(*launcher, "--cpu", "--gradient_clipping=1.0", *script)
    with pytest.raises(UserError, match=r"gradient_clipping has .*set max_grad_norm"):
        check_launch()
    launch(*launcher, "--fsdp_offload_params", "true", *script)
    with pytest.raises(UserError, match="setting fsdp_offload_params has no effect here; leave it out"):
        check_launch()


def test_flags_that_are_used_or_say_nothing_pass(launch):
    used = "--cpu --num_processes 2 --num_machines 1 --mixed_precision bf16 --main_process_port 0 --debug"
    nothing = "--dynamo_backend no --gradient_accumulation_steps 1"
    launch(*LAUNCHERS[0], *used.split(), *nothing.split(), "train_caption.py", "--use_fsdp")
    check_launch()
    launch("python", "train_caption.py", script="x.pyc")
    launch(*LAUNCHERS[0], "--gradient_accumulation_steps", "4", "another.py")  # which launched this
    check_launch()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("USE_FSDP", "true", "distributed_type FSDP has no effect here; .* --full_shard"),
        ("USE_DEEPSPEED", "true", "distributed_type DEEPSPEED"),
        ("USE_MEGATRON_LM", "true", "distributed_type MEGATRON_LM"),
        ("USE_PARALLELISM_CONFIG", "true", "parallelism_config"),
        ("DYNAMO_BACKEND", "INDUCTOR", "dynamo_backend has no effect here; .* --compile"),
        ("GRADIENT_ACCUMULATION_STEPS", "4", "gradient_accumulation_steps"),
        ("GRADIENT_CLIPPING", "1.0", "gradient_clipping"),
        ("MIXED_PRECISION", "fp8", "mixed_precision fp8"),
    ],
)
def test_what_a_config_file_says_is_refused(launch, monkeypatch, name, value, message):
    launch("python", "train_caption.py")
    monkeypatch.setenv(f"ACCELERATE_{name}", "no")
    check_launch()
    monkeypatch.setenv(f"ACCELERATE_{name}", value)
    with pytest.raises(UserError, match=message):
        check_launch()


@pytest.mark.parametrize("content", ["a: [", "- 3", "nothing: 3", None])
def test_a_config_file_that_accelerate_does_not_take_is_one_line(monkeypatch, tmp_path, capsys, content):
    file = tmp_path / "machine.yaml"
    if content is not None:
        file.write_text(content)
    monkeypatch.setattr(sys, "argv", ["launch.py", "--config_file", str(file), "train_vqa.py"])
    monkeypatch.setattr(launcher_script.signal, "signal", lambda *_: None)
    assert launcher_script.main() == 2
    told = capsys.readouterr().err
    assert told.startswith("error: accelerate cannot start")
    assert str(file) in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "the following arguments are required: training_script"),
        (["train_captio.py", "--exp_name", "x"], "train_captio.py: no such script; is train_caption.py meant?"),
        (["a/b.py"], "a/b.py: no such script; check its path"),
    ],
)
def test_a_missing_script_is_one_line(monkeypatch, capsys, words, expected):
    monkeypatch.setattr(sys, "argv", ["launch.py", *words])
    with pytest.raises(SystemExit, match="2"):
        sys.exit(launcher_script.main())
    told = capsys.readouterr().err
    assert told.startswith(f"error: {expected}")
    assert told.count("\n") == 1


def test_cpu_with_several_processes_is_refused(monkeypatch, capsys):
    """accelerate would start one process and not say so."""
    monkeypatch.setattr("sys.argv", ["launch.py", "--num_processes", "2", "--cpu", "train_caption.py"])
    assert launcher_script.main() == 2
    assert "--config_file" in capsys.readouterr().err
