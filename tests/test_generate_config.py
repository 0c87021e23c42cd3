"""What generate_config.py writes and refuses; that it starts two machines is in end_to_end/."""

import socket
import sys
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

import generate_config
from common.errors import UserError


@pytest.fixture
def generate(tmp_path, monkeypatch):
    """Runs the script with flags (`rank` 1 of 4 by default) and reads what accelerate reads."""

    def call(*flags: str, gpus: int = 0, rank: int = 1, machines: int = 4, path: Path | None = None) -> ClusterConfig:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
        file = path or tmp_path / "machine.yaml"
        required = ["--main_ip", "127.0.0.1", "--rank", str(rank), "--num_machines", str(machines)]
        monkeypatch.setattr(sys, "argv", ["generate_config.py", *required, "--config_file", str(file), *flags])
        generate_config.main()
        return load_config_from_file(str(file))

    return call


def test_accelerate_launches_what_was_written(generate, tmp_path):
    generate("--port", "29617", gpus=8)
    arguments = ["--config_file", str(tmp_path / "machine.yaml"), "train_caption.py"]
    args, _, _ = _validate_launch_command(launch_command_parser().parse_args(arguments))
    assert args.multi_gpu
    assert (args.num_machines, args.machine_rank, args.num_processes) == (4, 1, 32)
    assert (args.main_process_ip, args.main_process_port) == ("127.0.0.1", 29617)
    assert (args.mixed_precision, args.use_cpu) == ("bf16", False)


@pytest.mark.parametrize(
    ("flags", "machine", "expected"),
    [
        ([], {"gpus": 1, "rank": 0, "machines": 1}, ("NO", 1, 0, False, "bf16")),  # one GPU needs no torchrun
        ([], {}, ("MULTI_GPU", 4, 29500, True, "no")),  # a CPU process on each machine
        (["--num_gpus", "2", "--mixed_precision", "bf16"], {}, ("MULTI_GPU", 8, 29500, True, "bf16")),
        (["--num_gpus", "2"], {"gpus": 8}, ("MULTI_GPU", 8, 29500, False, "bf16")),
    ],
)
def test_processes_of_a_machine(generate, flags, machine, expected):
    config = generate(*flags, **machine)
    found = (config.distributed_type, config.num_processes, config.main_process_port)
    assert (*found, config.use_cpu, config.mixed_precision) == expected


def test_typographic_dashes():
    printed = ["–main_ip", "10.0.0.1", "—rank=3", "--num_machines", "4", "–5", "a–b"]
    plain = ["--main_ip", "10.0.0.1", "--rank=3", "--num_machines", "4", "–5", "a–b"]
    assert generate_config.plain_dashes(printed) == plain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 4}, "--rank 4: machines are numbered from 0 to 3"),
        ({"rank": -1}, "--rank -1: machines are numbered from 0 to 3"),
        ({"machines": 0}, "--num_machines 0: there must be at least 1"),
        ({"flags": ["--num_gpus", "9"], "gpus": 8}, "--num_gpus 9: this machine has 8"),
        ({"flags": ["--num_gpus", "0"]}, "--num_gpus 0: a machine needs at least 1 process"),
        ({"flags": ["--mixed_precision", "fp16"]}, "fp16: needs a GPU"),
        ({"flags": ["--main_ip", "no.such.host.invalid"]}, "--main_ip no.such.host.invalid: no such address"),
        ({"flags": ["--port", "70000"]}, "--port 70000: ports are numbered from 1"),
        ({"path": Path("machine.json")}, "machine.json: accelerate reads a YAML file by the name"),
    ],
)
def test_refuses(generate, options, message):
    flags = options.pop("flags", [])
    with pytest.raises(UserError) as error:
        generate(*flags, **options)
    assert message in str(error.value)


def test_refuses_a_busy_port_on_machine_0_alone(generate):
    with socket.socket() as busy:
        busy.bind(("", 0))
        busy.listen()
        port = str(busy.getsockname()[1])
        with pytest.raises(UserError, match=f"--port {port}: Address already in use; choose another"):
            generate("--port", port, rank=0)
        assert generate("--port", port, rank=1).main_process_port == int(port)
    assert generate("--port", port, rank=0).main_process_port == int(port)


def test_its_own_file_is_replaced(generate, capsys):
    generate()
    assert generate(rank=2).machine_rank == 2
    assert "machine.yaml: written" in capsys.readouterr().out


def test_warns_of_an_address_that_is_every_machines_own(generate, capsys):
    generate()
    assert capsys.readouterr().err == "warning: 127.0.0.1 means this machine itself, on every machine\n"
    generate(rank=0, machines=1)
    assert capsys.readouterr().err == ""
