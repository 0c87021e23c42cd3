"""What a run of a training script will do.

`plan_run` checks settings, folders and weights before anything is started, locked or written.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from dataset.class_tables import class_counts
from dataset.samples import ImageConfig
from helpers.checkpoints.backbones import find_backbones
from helpers.checkpoints.experiments import (
    SETTINGS,
    check_places,
    experiment_folder,
    find_experiment,
    refuse_to_start_over,
    resumable_checkpoints,
)
from helpers.checkpoints.load import DESCRIPTION, fitting_tokenizer
from helpers.checkpoints.weight_files import find_weights
from helpers.training.distribution.launch_settings import check_launch
from helpers.training.resume.folders import FOLDER
from helpers.training.resume.run_lock import check_lock_file, refuse_while_locked
from helpers.training.settings import TaskConfig, check_caption_lengths, prismer_config
from helpers.training.tracking import METRICS, check_tracker
from model.config import PrismerConfig
from model.prismer import Prismer
from model.sizes import ModelSize, read_model_size

M = TypeVar("M", bound=Prismer)
C = TypeVar("C", bound=TaskConfig)


@dataclass(frozen=True)
class RunPlan(Generic[M, C]):
    """A run that can begin.

    Attributes:
        task: `caption`, `vqa`, `pretrain` or `classification`; names the experiment's folder.
        model_class: the task's model.
        config: the task's settings.
        args: the flags of `helpers.training.flags.training_parser`.
        size: the model's size.
        network: the model's configuration.
        folder: where the run writes.
        files: names of the files that a new run writes there.
        checkpoints: with `--from_checkpoint`, where training may resume, newest first; not yet verified.
        weights: the file that the run starts from; None: it resumes, or starts from new weights.
        backbones: files of vision and text backbone that new weights come from; None: they are drawn at random.
    """

    task: str
    model_class: type[M]
    config: C
    args: argparse.Namespace
    size: ModelSize
    network: PrismerConfig
    folder: Path
    files: list[str]
    checkpoints: list[Path]
    weights: Path | None
    backbones: tuple[Path, Path] | None

    @property
    def tracker(self) -> str | None:
        """The tracker that training writes to."""
        return None if self.args.log_with == "none" or self.args.evaluate else self.args.log_with

    def image_config(self, **options: Any) -> ImageConfig:
        """How the task's data sets read images and labels."""
        return ImageConfig(
            label_path=self.config.label_path,
            experts=self.config.experts,
            image_resolution=self.config.image_resolution,
            label_resolution=self.config.label_resolution,
            augment=self.config.augment,
            seed=self.args.seed,
            compat=self.config.compat,
            classes=class_counts(self.config.class_tables, self.config.experts),
            **options,
        )


def plan_run(task: str, model_class: type[M], config: C, args: argparse.Namespace) -> RunPlan[M, C]:
    """Checks a run and finds what it starts from.

    Raises:
        UserError: the run cannot begin; nothing has changed.
    """
    check_launch()
    size = read_model_size(config.prismer_model)
    network = prismer_config(config, size)
    folder = experiment_folder(task, args.exp_name, args.output_dir)
    files = ["model.safetensors", DESCRIPTION, METRICS, SETTINGS]
    checkpoints, weights, backbones = [], None, None
    check_places(folder, "results", *([] if args.evaluate else [FOLDER]))
    if args.evaluate:
        source = task if args.from_checkpoint else "pretrain"
        weights = find_weights(find_experiment(source, args.exp_name, args.output_dir, evaluated=task))
    else:
        check_lock_file(folder)
        if not args.dry_run:
            refuse_while_locked(folder)
        if args.from_checkpoint:
            checkpoints = resumable_checkpoints(task, args.exp_name, args.output_dir)
        else:
            refuse_to_start_over(folder, files, args.overwrite)
            if task == "pretrain" or config.from_scratch:
                backbones = find_backbones(size.backbones)
            else:
                weights = find_weights(find_experiment("pretrain", args.exp_name, args.output_dir))
    check_caption_lengths(config, fitting_tokenizer(network, size.tokenizer), training=not args.evaluate)
    plan = RunPlan(task, model_class, config, args, size, network, folder, files, checkpoints, weights, backbones)
    check_tracker(plan.tracker)
    return plan
