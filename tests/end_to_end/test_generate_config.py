"""Two machines, each started by launch.py from a file of generate_config.py, train one model."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.end_to_end.conftest import ROOT, script, write_caption_config

LAUNCH = [sys.executable, str(ROOT / "launch.py")]
MAIN = "10.87.65.1"  # inside the namespaces alone


@dataclass
class Machine:
    """Where a command runs."""

    prefix: list[str]
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *command: str, cwd: Path) -> subprocess.Popen:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": ""}
        return subprocess.Popen(
            [*self.prefix, *command],
            cwd=cwd,
            env=environment | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def machines() -> Iterator[tuple[list[Machine], str, int]]:
    """Two machines, the first one's address, a port: network namespaces, or without them this machine."""
    names = [f"prismer{os.getpid()}{letter}" for letter in "ab"]
    links = [f"p{os.getpid()}{letter}" for letter in "ab"]
    try:
        if not make_namespaces(names, links):
            with socket.socket() as free:
                free.bind(("", 0))
                port = free.getsockname()[1]
            yield [Machine([]), Machine([])], "127.0.0.1", port
            return
        machines = [
            Machine(["ip", "netns", "exec", name], {"GLOO_SOCKET_IFNAME": link})
            for name, link in zip(names, links, strict=True)
        ]
        yield machines, MAIN, 29500
    finally:
        for name in names if shutil.which("ip") else []:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def make_namespaces(names: list[str], links: list[str]) -> bool:
    """Two namespaces with a cable between them; whether this machine allows it."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    commands = [f"netns add {name}" for name in names]
    commands += [f"link add {links[0]} netns {names[0]} type veth peer name {links[1]} netns {names[1]}"]
    for number, (name, link) in enumerate(zip(names, links, strict=True), start=1):
        commands += [
            f"-n {name} address add 10.87.65.{number}/24 dev {link}",
            f"-n {name} link set {link} up",
            f"-n {name} link set lo up",
        ]
    return all(
        subprocess.run(["ip", *command.split()], capture_output=True, check=False).returncode == 0
        for command in commands
    )


def run_on_all(machines: list[Machine], commands: list[list[str]], cwd: Path) -> list[str]:
    """Runs a command on each machine at the same time, and returns their output."""
    running = [machine.start(*command, cwd=cwd) for machine, command in zip(machines, commands, strict=True)]
    try:
        ended = [process.communicate(timeout=200) for process in running]
    finally:
        for process in running:
            process.kill()
    for process, (_, errors) in zip(running, ended, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [output for output, _ in ended]


def test_two_machines_train_one_sharded_model(machines, scenes, tmp_path):
    machines, address, port = machines
    config = write_caption_config(tmp_path / "caption.yaml", scenes, max_epoch=1, metrics=["cider"])
    files = [str(tmp_path / f"machine_{rank}.yaml") for rank in range(2)]
    # As the original's README prints the flags.
    flags = [f"–main_ip={address}", "—num_machines", "2", "--port", str(port)]
    generate = [sys.executable, str(ROOT / "generate_config.py"), *flags]
    commands = [[*generate, "–rank", str(rank), "--config_file", file] for rank, file in enumerate(files)]
    outputs = run_on_all(machines, commands, tmp_path)
    for rank, output in enumerate(outputs):
        assert f"machine {rank} of 2; CPU processes on each: 1" in output
    train = [str(ROOT / "train_caption.py"), "--exp_name", "tiny", "--config", str(config), "--full_shard"]
    commands = [[*LAUNCH, "--config_file", file, *train] for file in files]
    outputs = run_on_all(machines, commands, tmp_path)
    assert "global batch 20" in outputs[0]
    assert outputs[1] == ""  # only the main process prints
    folder = tmp_path / "logging" / "caption_tiny"
    assert (folder / "model.safetensors").is_file()
    results = json.loads((folder / "results" / "coco_epoch_1.json").read_text())
    assert [row["image_id"] for row in results] == [1000000, 1000001, 1000002, 1000003]


@pytest.mark.parametrize("flags", ["--cpu --num_processes 1", "--multi_gpu --num_processes 2"])
def test_nothing_follows_the_line_of_a_script_that_ends_in_one(flags, tmp_path):
    train = (ROOT / "train_caption.py", "--exp_name", "x", "--config", "none.yaml")
    launch = (*flags.split(), "--num_machines", "1", "--main_process_port", "0", *train)
    done = script("launch.py", *launch, cwd=tmp_path)
    assert done.returncode == 2
    assert set(done.stderr.splitlines()) == {
        "error: none.yaml: no such config file; those of the project are in configs/"
    }
    assert done.stdout == ""
