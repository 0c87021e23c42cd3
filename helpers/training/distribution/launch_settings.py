"""Settings of `accelerate launch` that the scripts do not read: each is refused by its name.

accelerate passes some settings on in the environment; the refused ones of these are in `_REFUSED`. Flags
that it drops in silence stand on its command line alone.
"""

import os
import sys
from pathlib import Path

import psutil
from accelerate.commands.launch import launch_command_parser

from common.errors import UserError

_SHARD = "start processes without it, and shard with --full_shard or --shard_grad_op"
# A setting's name in accelerate, here and in ACCELERATE_<NAME>; its name for users, and the remedy.
_REFUSED = {
    "use_fsdp": ("distributed_type FSDP", _SHARD),
    "use_deepspeed": ("distributed_type DEEPSPEED", _SHARD),
    "use_megatron_lm": ("distributed_type MEGATRON_LM", _SHARD),
    "use_parallelism_config": ("parallelism_config", _SHARD),
    "dynamo_backend": ("dynamo_backend", "leave it out, and compile with --compile"),
    "gradient_accumulation_steps": (
        "gradient_accumulation_steps",
        "leave it out, and set accumulate_steps in the task's config",
    ),
    "gradient_clipping": ("gradient_clipping", "leave it out, and set max_grad_norm in the task's config"),
}
_NOTHING = ("", "0", "false", "no", "none", "auto", "default")
# Flags of `accelerate launch` that it acts on itself, or that reach the processes here.
_USED = {
    *("training_script", "training_script_args", "module", "no_python", "config_file", "quiet", "debug"),
    *("cpu", "multi_gpu", "gpu_ids", "mixed_precision", "num_cpu_threads_per_process", "enable_cpu_affinity"),
    *("num_processes", "num_machines", "machine_rank", "same_network", "mpirun_hostfile"),
    *("main_process_ip", "main_process_port", "rdzv_backend", "rdzv_conf"),
    *("max_restarts", "monitor_interval", "tee", "log_dir", "role"),
}


def check_launch() -> None:
    """Checks how this process was started.

    Raises:
        UserError: with a setting that has no effect here.
    """
    if os.environ.get("ACCELERATE_MIXED_PRECISION", "").lower() == "fp8":
        raise UserError("accelerate's mixed_precision fp8 is not for these scripts; take bf16, fp16 or no")
    given = {name: os.environ.get(f"ACCELERATE_{name.upper()}", "") for name in _REFUSED}
    for name, value in (given | _dropped_flags()).items():
        if value.lower() in _NOTHING or (name, value) == ("gradient_accumulation_steps", "1"):
            continue
        called, remedy = _REFUSED.get(name, (name, "leave it out"))
        raise UserError(f"accelerate's setting {called} has no effect here; {remedy}")


def _dropped_flags() -> dict[str, str]:
    """The flags outside `_USED` of the `accelerate launch` that started this script."""
    for process in psutil.Process().parents():
        try:
            flags = _launch_flags(process.cmdline())
        except psutil.Error:  # it has ended, or is another user's
            continue
        if flags is None:
            continue
        try:
            found, _ = launch_command_parser().parse_known_args(flags)
        except SystemExit:  # of another version
            return {}
        if Path(found.training_script).stem != Path(sys.argv[0]).stem:  # it launched what launched this
            return {}
        return {name: str(getattr(found, name)) for name in sorted(found.nondefault - _USED)}
    return {}


def _launch_flags(command: list[str]) -> list[str] | None:
    """The words after `accelerate launch` in a command; None if it is another."""
    for place, word in enumerate(command):
        name, rest = Path(word).name, command[place + 1 :]
        if name in ("accelerate-launch", "accelerate.commands.launch", "launch.py"):
            return rest
        if name in ("accelerate", "accelerate.commands.accelerate_cli") and rest[:1] == ["launch"]:
            return rest[1:]
    return None
