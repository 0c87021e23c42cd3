"""Writes the config file with which `python launch.py`, or `accelerate launch`, starts one machine of a cluster.

    python generate_config.py --main_ip 10.0.0.1 --rank 0 --num_machines 4   # on the machine of this address
    python generate_config.py --main_ip 10.0.0.1 --rank 1 --num_machines 4   # on the next, and so on

Then run the same command on every machine, such as `python launch.py train_caption.py --exp_name NAME`.
Each process uses one GPU; a machine without GPUs runs CPU processes.
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
    parser.add_argument("--num_machines", required=True, type=int, help="number of machines")
    parser.add_argument("--num_gpus", type=int, help="processes on each machine (default: its GPUs; 1 without GPUs)")
    parser.add_argument("--mixed_precision", choices=["no", "bf16", "fp16"], help="default: bf16 on GPUs that have it")
    parser.add_argument(
        "--port", type=int, help=f"port of machine 0 (default: {PORT}; a free one for a single machine)"
    )
    parser.add_argument(
        "--config_file",
        type=named_path,
        help="the file to write (default: accelerate's own, in ~/.cache/huggingface/accelerate)",
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
    """Replaces typographic dashes in flags that were copied from a web page."""
    return [re.sub(r"^[–—]+(?=[a-z])", "--", argument) for argument in arguments]


def cluster_config(args: argparse.Namespace) -> "ClusterConfig":
    """The config from flags and this machine's devices; raises UserError for a mistake in the flags."""
    import torch
    from accelerate.commands.config.config_args import ClusterConfig

    gpus = torch.cuda.device_count()
    if args.num_machines < 1:
        raise UserError(f"--num_machines {args.num_machines}: there must be at least 1")
    if not 0 <= args.rank < args.num_machines:
        raise UserError(f"--rank {args.rank}: machines are numbered from 0 to {args.num_machines - 1}")
    if args.num_gpus is not None and args.num_gpus < 1:
        raise UserError(f"--num_gpus {args.num_gpus}: a machine needs at least 1 process")
    if gpus and args.num_gpus is not None and args.num_gpus > gpus:
        raise UserError(f"--num_gpus {args.num_gpus}: this machine has {gpus}")
    if not gpus and args.mixed_precision == "fp16":
        raise UserError("--mixed_precision fp16: needs a GPU; take bf16 or no")
    if args.port is not None and not 0 < args.port < 2**16:
        raise UserError(f"--port {args.port}: ports are numbered from 1 to {2**16 - 1}")
    check_address(args.main_ip, several=args.num_machines > 1)
    port = args.port or (PORT if args.num_machines > 1 else 0)  # 0: accelerate takes a free one
    if args.rank == 0 and port:
        check_port(port)
    processes = args.num_machines * (args.num_gpus or gpus or 1)
    bf16 = gpus > 0 and torch.cuda.is_bf16_supported()
    return ClusterConfig(
        compute_environment="LOCAL_MACHINE",
        # MULTI_GPU makes accelerate start torchrun, for CPU processes as well: MULTI_CPU would start a single
        # process and expect an mpirun. Each process then chooses its device itself
        # (helpers/training/distribution/processes.py).
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
        same_network=True,  # the address of machine 0 is known, no rendezvous is needed
        rdzv_backend="static",
    )


def check_address(address: str, several: bool) -> None:
    """Raises UserError for an unknown address; warns of one that other machines cannot reach."""
    try:
        found = socket.getaddrinfo(address, None)
    except (OSError, UnicodeError):
        raise UserError(f"--main_ip {address}: no such address or name is known on this machine") from None
    if several and all(ipaddress.ip_address(entry[4][0]).is_loopback for entry in found):
        print(f"warning: {address} means this machine itself, on every machine", file=sys.stderr)


def check_port(port: int) -> None:
    """Raises UserError if this machine, machine 0, cannot listen there."""
    with socket.socket() as server:
        # A port in TIME_WAIT, which a finished run leaves for a minute, is free enough.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("", port))
        except OSError as error:
            raise UserError(f"--port {port}: {error.strerror}; choose another, on every machine") from None


def write_config(path: Path, config: "ClusterConfig", outputs: Outputs) -> None:
    """Writes the YAML file."""
    if path.suffix not in (".yaml", ".yml"):
        raise UserError(f"{path}: accelerate reads a YAML file by the name *.yaml")
    with outputs.writing(path):
        write_atomically(path, config.to_yaml_file)
    print(f"{path}: written")


if __name__ == "__main__":
    run(main)
