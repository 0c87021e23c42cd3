"""The command line that all training scripts share."""

import argparse
from pathlib import Path

from common.cli import add_output_dir, experiment, named_path, whole


def training_parser(description: str, config: str) -> argparse.ArgumentParser:
    """The flags that every training script has; `config`: the file that `--config` names by default."""
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    add("--exp_name", type=experiment, required=True, help="the experiment; names its folder, <task>_<exp_name>")
    add_output_dir(parser)
    add("--config", type=named_path, default=Path(config), help="YAML file (default: %(default)s)")
    text = "settings instead of the file's, written as there: --set init_lr=1e-4 max_epoch=1"
    add("--set", dest="changes", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=text)
    text = "check settings, lists, labels and weights, print what would be done, and write nothing"
    add("--dry_run", action="store_true", help=text)
    start = parser.add_mutually_exclusive_group()
    text = "continue from, or evaluate, this task's own checkpoint instead of the pre-trained one"
    start.add_argument("--from_checkpoint", action="store_true", help=text)
    text = "start anew: replace the experiment's weights, checkpoints and metrics of an earlier run"
    start.add_argument("--overwrite", action="store_true", help=text)
    add("--evaluate", action="store_true", help="evaluate only")
    text = "number format of the computation (default: bf16 on a GPU that has it, else no)"
    add("--mixed_precision", choices=["no", "bf16", "fp16"], help=text)
    add("--seed", type=whole, default=42, help="of all random draws (default: %(default)s)")
    trackers, text = ["tensorboard", "wandb", "trackio", "none"], "a tracker for the values of metrics.jsonl"
    add("--log_with", choices=trackers, default="none", help=text)
    text = "torch.compile layers and loss; graphs: replay steps as CUDA graphs instead; both: both"
    modes = ["none", "blocks", "graphs", "both"]  # `Compilation`, whose module loads torch
    add("--compile", nargs="?", const="blocks", default="none", choices=modes, help=text)
    text = "write trace.json, a profile of a few steps, beside the results, for https://ui.perfetto.dev"
    add("--profile", action="store_true", help=text)
    sharding = parser.add_mutually_exclusive_group()
    for mode, text in {
        "shard_grad_op": "shard gradients and optimizer over the processes (ZeRO-2)",
        "full_shard": "shard the parameters as well (ZeRO-3)",
    }.items():
        sharding.add_argument(
            f"--{mode}", dest="sharding", action="store_const", const=mode, default="none", help=text
        )
    return parser
