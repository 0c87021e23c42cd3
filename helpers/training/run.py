"""One run of a training script: its settings, processes, folder, model and data loaders.

A script makes a `Session`, opens its data sets, then calls `build`: every mistake in the settings or the
lists is found before a weight is loaded, and nothing is written before.
"""

import argparse
import math
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device, set_seed
from torch import Tensor, nn
from torch.utils.data import Dataset

from common.files import remove_leftovers
from dataset.class_tables import class_counts
from dataset.label_coverage import label_coverage
from dataset.loader import Loader, collate
from dataset.samples import ImageConfig
from dataset.shuffle import Order
from helpers.checkpoints.backbones import find_backbones, load_backbones
from helpers.checkpoints.experiments import (
    SETTINGS,
    check_places,
    experiment_folder,
    find_experiment,
    newest_checkpoint,
    refuse_to_start_over,
    remove_earlier_run,
    set_metrics_aside,
    write_run_settings,
)
from helpers.checkpoints.load import DESCRIPTION, build_model, prepare_inputs, restore_model
from helpers.checkpoints.weight_files import find_weights, read_weights
from helpers.training.checkpoints.folders import FOLDER
from helpers.training.checkpoints.run_lock import RunLock
from helpers.training.distribution.preparation import prepare_model
from helpers.training.distribution.processes import start_accelerator
from helpers.training.distribution.sharding import unwrap
from helpers.training.distribution.threads import choose_threads
from helpers.training.sampler import EpochSampler, in_order
from helpers.training.settings import TaskConfig, prismer_config
from helpers.training.tracking import METRICS, check_tracker
from model.inputs import Inputs
from model.prismer import Prismer
from model.sizes import read_model_size

M = TypeVar("M", bound=Prismer)
C = TypeVar("C", bound=TaskConfig)


class Session(Generic[M, C]):
    """What the settings and the command line make of a task.

    Args:
        task: `caption`, `vqa`, `pretrain` or `classification`; names the experiment's folder.
        cls: the model of the task.
        config: its settings.
        args: the flags of `common.cli.training_parser`.

    Attributes:
        network: the model's configuration.
        folder: where the run writes.
        accelerator: its processes and devices.
        checkpoint: where the run goes on from; None if it is new.
        said_cut: the splits for which it was said that texts are cut.
        model: what `build` made; its forward is to be called.
    """

    def __init__(self, task: str, cls: type[M], config: C, args: argparse.Namespace) -> None:
        self.task, self.cls, self.config, self.args = task, cls, config, args
        self.size = read_model_size(config.prismer_model)
        self.network = prismer_config(config, self.size)
        self.folder = experiment_folder(task, args.exp_name, args.output_dir)
        tracker = None if args.log_with == "none" or args.evaluate else args.log_with
        check_tracker(tracker)
        self.accelerator: Accelerator = start_accelerator(args.mixed_precision, tracker, self.folder)
        if (chosen := choose_threads(config.num_workers)) and self.is_main:
            print(chosen)
        self.checkpoint: Path | None = None
        self.said_cut: set[str] = set()
        self._amounts: list[str] = []
        self._lock: RunLock | None = None
        self.start = self._starting_point()
        self.backbones = find_backbones(self.size.backbones) if self.start is None else None
        self._prepare = prepare_inputs(self.network.experts, config.class_tables).to(self.accelerator.device)
        self.model: nn.Module = nn.Identity()

    def _starting_point(self) -> Path | None:
        """The weights that the run begins with, None for new ones: the pre-trained, or the task's own."""
        name, output_dir = self.args.exp_name, self.args.output_dir
        check_places(self.folder, "results", *([] if self.args.evaluate else [FOLDER]))
        if self.args.evaluate:
            task = self.task if self.args.from_checkpoint else "pretrain"
            return find_weights(find_experiment(task, name, output_dir))
        if self.folder.is_dir() and not self.args.dry_run:
            self._lock_folder()
        if self.args.from_checkpoint:
            self.checkpoint = newest_checkpoint(self.task, name, self.accelerator, output_dir)
            return find_weights(self.checkpoint)
        refuse_to_start_over(self.folder, self._files(), self.args.overwrite)
        if self.task == "pretrain" or self.config.from_scratch:
            return None
        return find_weights(find_experiment("pretrain", name, output_dir))

    def _files(self) -> list[str]:
        """What a new run writes into its folder under a fixed name."""
        original = ["pytorch_model.bin"] if self.config.pytorch_model else []
        return ["model.safetensors", *original, DESCRIPTION, METRICS, SETTINGS]

    def _lock_folder(self) -> None:
        if self.is_main and self._lock is None:
            self._lock = RunLock(self.folder)
            remove_leftovers(self.folder)

    @property
    def is_main(self) -> bool:
        """Whether this process prints and writes."""
        return self.accelerator.is_main_process

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

    def train_loader(self, dataset: Dataset) -> Loader:
        """Shuffled batches of this process's share."""
        order, length = dataset.order(self.args.seed), dataset.epoch_length
        self._say_coverage("train", dataset)
        loader = self._loader(dataset, self.config.batch_size_train, order, length)
        steps = self.config.max_epoch * math.ceil(len(loader) / self.config.accumulate_steps)
        self._amounts.append(f"{len(dataset)} samples, global batch {self.global_batch}, {steps} steps")
        return loader

    def test_loader(self, dataset: Dataset) -> Loader:
        """Batches of this process's share, in order."""
        self._say_coverage("test", dataset)
        self._amounts.append(f"{len(dataset)} samples to test on")
        return self._loader(dataset, self.config.batch_size_test, in_order(len(dataset)), len(dataset))

    def _say_coverage(self, split: str, dataset: Dataset) -> None:
        """Prints how many images have labels.

        Raises:
            UserError: of an expert none has.
        """
        if not self.network.experts:
            return
        for source in getattr(dataset, "sources", [dataset]):
            coverage = label_coverage(source)
            if self.is_main:
                print(f"{split}, {source.folder.images}: {coverage}")

    def _loader(self, dataset: Dataset, batch_size: int, order: Order, length: int) -> Loader:
        sampler = EpochSampler(
            length,
            order,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
        )
        return Loader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.config.num_workers,
            collate_fn=collate,
            pin_memory=self.accelerator.device.type == "cuda",
            persistent_workers=self.config.num_workers > 0,
            generator=torch.Generator(),  # else it draws from the one that dropout draws from
        )

    @property
    def global_batch(self) -> int:
        """The samples of an optimizer step, over all processes."""
        config = self.config
        return config.batch_size_train * self.accelerator.num_processes * config.accumulate_steps

    def build(self) -> nn.Module:
        """Makes the model: weights, what is frozen, spread over the processes; prints what the run is."""
        set_seed(self.args.seed)
        self.model = prepare_model(
            self._weights(),
            self.accelerator,
            freeze=self.config.freeze,
            sync_batchnorm=self.config.sync_batchnorm,
            activation_checkpointing=self.config.activation_checkpointing,
            compiled=self.args.compile,
            sharding=self.args.sharding,
        )
        if self.is_main:
            self._print_summary()
        if not self.args.evaluate and not self.args.dry_run:
            self._lock_folder()  # now that all mistakes are found: it makes the folder
            if self.args.overwrite and self.is_main:
                remove_earlier_run(self.folder, self._files())
            elif self.checkpoint is None and self.is_main:
                set_metrics_aside(self.folder)
            if self.is_main:
                write_run_settings(self.folder, self.config, self.args)
        return self.model

    def _print_summary(self) -> None:
        accelerator, parameters = self.accelerator, list(self.model.parameters())
        precision = {"no": "float32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
        processes = accelerator.num_processes
        print(f"device: {accelerator.device}, {precision}, {processes} process{'es' * (processes > 1)}")
        trained = sum(each.numel() for each in parameters if each.requires_grad)
        print(f"parameters: {trained:,} trained of {sum(each.numel() for each in parameters):,}")
        print(*self._amounts, sep="\n")
        if self.args.dry_run:
            print("dry run: all is in order, nothing is written")

    def _weights(self) -> M:
        """The model with the weights that the run begins with."""
        if self.start is not None:
            origin = str(self.start)
            state = read_weights(self.start)
            model = restore_model(self.cls, self.network, self.size.tokenizer, state, origin)
        else:
            model = build_model(self.cls, self.network, self.size.tokenizer)
            origin = "new"
            if self.backbones is not None:
                load_backbones(model, self.backbones)
                origin = f"{self.size.backbones.vision} and {self.size.backbones.text}, the rest is new"
        if self.is_main:
            print(f"weights: {origin}")
        return model

    @property
    def prismer(self) -> M:
        """The model without what wraps it for several processes."""
        return unwrap(self.model)

    def inputs(self, batch: dict[str, Any]) -> Inputs:
        """The encoder's input from a collated batch, on the device."""
        # Texts stay on the host.
        visual = {key: batch[key] for key in ("rgb", "labels", "tables")}
        return self._prepare(send_to_device(visual, self.accelerator.device, non_blocking=True))

    def to_device(self, values: list[float]) -> Tensor:
        """Numbers of a batch as float32, on the device."""
        return torch.tensor(values, dtype=torch.float32).to(self.accelerator.device, non_blocking=True)
