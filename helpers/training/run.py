"""A run under way: its processes, data loaders and model; `plan_run` checks before what it needs."""

import math
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device, set_seed
from torch import Tensor, nn
from torch.utils.data import Dataset

from common.errors import UserError
from common.files import remove_leftovers
from dataset.label_coverage import label_coverage
from dataset.loader import Loader, collate
from helpers.checkpoints.backbones import load_backbones
from helpers.checkpoints.experiments import (
    newest_whole,
    remove_earlier_run,
    set_metrics_aside,
    write_run_settings,
)
from helpers.checkpoints.load import build_model, prepare_inputs, restore_model
from helpers.checkpoints.weight_files import find_weights, read_weights
from helpers.training.distribution.preparation import prepare_model
from helpers.training.distribution.processes import choose_threads, start_accelerator
from helpers.training.distribution.sharding import unwrap
from helpers.training.plan import RunPlan
from helpers.training.resume.folders import find_checkpoints
from helpers.training.resume.run_lock import lock_folder
from helpers.training.sampler import EpochSampler, in_order
from helpers.training.settings import TaskConfig
from model.inputs import Inputs
from model.prismer import Prismer

M = TypeVar("M", bound=Prismer)
C = TypeVar("C", bound=TaskConfig)


class Run(Generic[M, C]):
    """Starts the processes, then builds data loaders and model; prints what the run is, writes nothing.

    Args:
        plan: of the run.
        train_set, test_set: data sets; None: the run does not train or evaluate.

    Attributes:
        accelerator: processes and devices.
        train_loader: shuffled batches of this process's share, None without a data set.
        test_loader: batches of this process's share, in order.
        checkpoint: where training resumes; None: it begins.
        model: the module whose forward is to be called.
        said_cut: the splits for which it was said that texts are cut.

    Raises:
        UserError: an expert has no labels, or checkpoint and weights do not fit.
    """

    def __init__(self, plan: RunPlan[M, C], train_set: Dataset | None = None, test_set: Dataset | None = None) -> None:
        self.plan, self.config, self.args, self.folder = plan, plan.config, plan.args, plan.folder
        self.said_cut: set[str] = set()
        self.accelerator: Accelerator = start_accelerator(self.args.mixed_precision, plan.tracker, self.folder)
        if (chosen := choose_threads(self.config.num_workers)) and self.is_main:
            print(chosen)
        self.checkpoint: Path | None = None
        if plan.checkpoints:
            self.checkpoint = newest_whole(plan.checkpoints, self.accelerator)
        self.test_loader = None if test_set is None else self._loader("test", test_set)
        self.train_loader = None if train_set is None else self._loader("train", train_set)
        self._prepare = prepare_inputs(plan.network.experts, self.config.class_tables).to(self.accelerator.device)
        set_seed(self.args.seed)
        self.model: nn.Module = prepare_model(
            self._initial_model(),
            self.accelerator,
            freeze=self.config.freeze,
            sync_batchnorm=self.config.sync_batchnorm,
            activation_checkpointing=self.config.activation_checkpointing,
            compiled=self.args.compile,
            sharding=self.args.sharding,
        )
        if self.is_main:
            self._print_summary()

    @property
    def is_main(self) -> bool:
        """Whether this process prints and writes."""
        return self.accelerator.is_main_process

    @property
    def global_batch(self) -> int:
        """The samples of an optimizer step, over all processes."""
        config = self.config
        return config.batch_size_train * self.accelerator.num_processes * config.accumulate_steps

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

    def claim_folder(self) -> None:
        """Locks the folder, and makes it ready for what training writes.

        Raises:
            UserError: another run trains in it, or has since the run was planned.
        """
        if not self.is_main:
            return
        lock_folder(self.folder)
        if not self.args.overwrite and find_checkpoints(self.folder) != self.plan.checkpoints:
            raise UserError(f"{self.folder}: another run has trained in it meanwhile; start again")
        remove_leftovers(self.folder)
        if self.args.overwrite:
            remove_earlier_run(self.folder, self.plan.files)
        elif self.checkpoint is None:
            set_metrics_aside(self.folder)
        write_run_settings(self.folder, self.config, self.args)

    def _loader(self, split: str, dataset: Dataset) -> Loader:
        for source in getattr(dataset, "sources", [dataset]) if self.plan.network.experts else []:
            coverage = label_coverage(source)
            if self.is_main:
                print(f"{split}, {source.folder.images}: {coverage}")
        training, rank, processes = split == "train", self.accelerator.process_index, self.accelerator.num_processes
        order = dataset.order(self.args.seed) if training else in_order(len(dataset))
        length = dataset.epoch_length if training else len(dataset)
        return Loader(
            dataset,
            batch_size=self.config.batch_size_train if training else self.config.batch_size_test,
            sampler=EpochSampler(length, order, rank=rank, world_size=processes),
            num_workers=self.config.num_workers,
            collate_fn=collate,
            pin_memory=self.accelerator.device.type == "cuda",
            persistent_workers=self.config.num_workers > 0,
            generator=torch.Generator(),  # else it draws from the one that dropout draws from
        )

    def _initial_model(self) -> M:
        """The model with the weights that the run starts from."""
        plan = self.plan
        weights = find_weights(self.checkpoint) if self.checkpoint else plan.weights
        if weights is not None:
            origin = str(weights)
            state = read_weights(weights)
            model = restore_model(plan.model_class, plan.network, plan.size.tokenizer, state, origin)
        else:
            model = build_model(plan.model_class, plan.network, plan.size.tokenizer)
            origin = "new"
            if plan.backbones is not None:
                load_backbones(model, plan.backbones)
                origin = f"{plan.size.backbones.vision} and {plan.size.backbones.text}, the rest is new"
        if self.is_main:
            print(f"weights: {origin}")
        return model

    def _print_summary(self) -> None:
        accelerator, parameters = self.accelerator, list(self.model.parameters())
        precision = {"no": "float32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
        processes = accelerator.num_processes
        print(f"device: {accelerator.device}, {precision}, {processes} process{'es' * (processes > 1)}")
        trained = sum(each.numel() for each in parameters if each.requires_grad)
        print(f"parameters: {trained:,} trained of {sum(each.numel() for each in parameters):,}")
        if self.test_loader is not None:
            print(f"{len(self.test_loader.dataset)} samples to test on")
        if self.train_loader is not None:
            steps = self.config.max_epoch * math.ceil(len(self.train_loader) / self.config.accumulate_steps)
            samples = len(self.train_loader.dataset)
            print(f"{samples} samples, global batch {self.global_batch}, {steps} steps")
