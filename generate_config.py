"""Writes the file by which `python launch.py`, like `accelerate launch`, starts one machine of a cluster.

    python generate_config.py --main_ip 10.0.0.1 --rank 0 --num_machines 4   # on the machine of this address
    python generate_config.py --main_ip 10.0.0.1 --rank 1 --num_machines 4   # on the next, and so on

Every machine then runs the same command, such as `python launch.py train_caption.py --exp_name NAME`.
Each process gets a GPU; a machine without GPUs runs CPU processes.
"""

import argparse
import ipaddress
import re
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from common.cli import named_path, run
from common.errors import UserError
from common.files import write_atomically
from common.overwrite import Outputs, add_flag

if TYPE_CHECKING:
    from accelerate.commands.config.config_args import ClusterConfig

PORT = 29500  # torch's own choice


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--main_ip", required=True, metavar="IP", help="address or name of machine 0")
    parser.add_argument("--rank", required=True, type=int, help="number of this machine, from 0")
    parser.add_argument("--num_machines", required=True, type=int, help="how many there are")
    parser.add_argument(
        "--num_gpus",
        type=int,
        help="processes on this machine, as on all others (default: its GPUs; 1 without)",
    )
    parser.add_argument("--mixed_precision", choices=["no", "bf16", "fp16"], help="default: bf16 on GPUs that have it")
    parser.add_argument(
        "--port",
        type=int,
        help=f"where machine 0 listens (default: {PORT}; with one machine any that is free)",
    )
    parser.add_argument(
        "--config_file",
        type=named_path,
        help="what to write (default: the file that is read without naming one)",
    )
    add_flag(parser)
    args = parser.parse_args(plain_dashes(sys.argv[1:]))
    # Imported here, so that --help and a mistyped flag are answered at once.
    from accelerate.commands.config.config_args import default_yaml_config_file

    config = cluster_config(args)
    path = args.config_file or Path(default_yaml_config_file)
    write_config(path, config, Outputs("generate_config.py", args.overwrite, "name another --config_file"))
    each = config.num_processes // config.num_machines
    unit = "CPU processes" if config.use_cpu else "GPUs"
    print(f"machine {config.machine_rank} of {config.num_machines}; {unit} on each: {each}")
    option = f" --config_file {path}" if args.config_file else ""
    print(f"start with: python launch.py{option} train_caption.py --exp_name NAME")


def plain_dashes(arguments: list[str]) -> list[str]:
    """Flags copied from a page that has made `--` a typographic dash."""
    return [re.sub(r"^[–—]+(?=[a-z])", "--", argument) for argument in arguments]


def cluster_config(args: argparse.Namespace) -> "ClusterConfig":
    """What the flags and this machine's devices make of it; every mistake in the flags is found here."""
    import torch
    from accelerate.commands.config.config_args import ClusterConfig

    if args.num_machines < 1:
        raise UserError(f"--num_machines {args.num_machines}: there must be at least 1")
    if not 0 <= args.rank < args.num_machines:
        raise UserError(f"--rank {args.rank}: machines are numbered from 0 to {args.num_machines - 1}")
    if args.num_gpus is not None and args.num_gpus < 1:
        raise UserError(f"--num_gpus {args.num_gpus}: a machine needs at least 1 process")
    check_address(args.main_ip, several=args.num_machines > 1)
    gpus = torch.cuda.device_count()
    if gpus and args.num_gpus is not None and args.num_gpus > gpus:
        raise UserError(f"--num_gpus {args.num_gpus}: this machine has {gpus}")
    if not gpus and args.mixed_precision == "fp16":
        raise UserError("--mixed_precision fp16: needs a GPU; take bf16 or no")
    port = args.port
    if port is None:
        port = PORT if args.num_machines > 1 else 0  # 0: accelerate takes a free one
    elif not 0 < port < 2**16:
        raise UserError(f"--port {port}: ports are numbered from 1 to {2**16 - 1}")
    if args.rank == 0 and port:
        check_port(port)
    processes = args.num_machines * (args.num_gpus or gpus or 1)
    bf16 = gpus > 0 and torch.cuda.is_bf16_supported()
    return ClusterConfig(
        compute_environment="LOCAL_MACHINE",
        # MULTI_GPU is what makes accelerate start torchrun. CPU processes need that as well: MULTI_CPU would
        # start a single process here and leave the others to an mpirun. Which device a process then
        # takes is found out by the process itself (helpers/training/distribution/processes.py).
        distributed_type="MULTI_GPU" if processes > 1 else "NO",
        use_cpu=gpus == 0,
        debug=False,
        mixed_precision=args.mixed_precision or ("bf16" if bf16 else "no"),
        num_machines=args.num_machines,
        machine_rank=args.rank,
        num_processes=processes,
        gpu_ids="all",
        main_process_ip=args.main_ip,
        main_process_port=port,
        same_network=True,  # machine 0 is where the address says, nobody is to be found first
        rdzv_backend="static",
    )


def check_address(address: str, several: bool) -> None:
    """That an address or a name is known; warns of one by which no other machine can reach this one."""
    try:
        found = socket.getaddrinfo(address, None)
    except (OSError, UnicodeError):
        raise UserError(f"--main_ip {address}: no such address or name is known on this machine") from None
    if several and all(ipaddress.ip_address(entry[4][0]).is_loopback for entry in found):
        print(f"warning: {address} means this machine itself, on every machine", file=sys.stderr)


def check_port(port: int) -> None:
    """That machine 0, which is this one, can listen there."""
    with socket.socket() as server:
        # What a finished run leaves for a minute does not count, a listener does.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("", port))
        except OSError as error:
            raise UserError(f"--port {port}: {error.strerror}; choose another, on every machine") from None


def write_config(path: Path, config: "ClusterConfig", outputs: Outputs) -> None:
    """Writes the YAML, which accelerate must read as it was meant."""
    from accelerate.commands.config.config_args import load_config_from_file

    if path.suffix not in (".yaml", ".yml"):
        raise UserError(f"{path}: accelerate reads a YAML file by the name *.yaml")

    def write(temporary: Path) -> None:
        config.to_yaml_file(temporary)
        read = load_config_from_file(str(temporary))
        if read.to_dict() != config.to_dict():
            raise AssertionError(f"accelerate reads {read}, written was {config}")

    with outputs.writing(path):
        write_atomically(path, write)
    print(f"{path}: written")


if __name__ == "__main__":
    run(main)
