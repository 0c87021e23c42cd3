"""The training loop that all scripts share: epochs, steps, learning rate, logging, saving, resuming.

training = Training(session, loader, usage, score="CIDEr")
for _ in training.epochs():
    for batch in training.batches():
        with session.accelerator.autocast():
            loss = session.model(session.inputs(batch), ...)
        training.step(loss)
    training.end_epoch(evaluate())
training.finish()
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from accelerate.utils import set_seed
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from common.cli import Stopped
from common.errors import UserError
from common.progress import progress_bar
from common.yaml_config import config_as_json
from dataset.label_manifest import read_backends
from helpers.checkpoints.load import InferenceDefaults, describe
from helpers.evaluation.prediction import epoch_table, say_cut_texts
from helpers.training.checkpoints.saver import Saver
from helpers.training.checkpoints.training_state import save_best
from helpers.training.distribution.batch_norm import average_statistics
from helpers.training.distribution.processes import broadcast_from_main, count_over_processes
from helpers.training.distribution.sharding import all_finite
from helpers.training.interruption import StopRequest
from helpers.training.optimizer_step import MeanLoss, Stepper
from helpers.training.profiling import traced
from helpers.training.run import Session
from helpers.training.schedule import Schedule, build_optimizer, set_lr
from helpers.training.skipped_steps import SkippedSteps
from helpers.training.tracking import Meter, Tracking

LOG_EVERY = 50  # optimizer steps between two lines of metrics.jsonl


class Training:
    """Trains a session's model; `--from_checkpoint` goes on where the last run stopped.

    Args:
        session: its model is built.
        loader: batches of a data set with `set_epoch`.
        usage: how the task uses the model, written beside its weights.
        score: name of the score by which the best weights are kept, of equal ones the newest; while no
            evaluation has had this score, the newest are kept.
        lr_by_epoch: the cosine falls by epoch rather than by step.
    """

    def __init__(
        self,
        session: Session,
        loader: DataLoader,
        usage: InferenceDefaults,
        *,
        score: str,
        lr_by_epoch: bool = False,
    ) -> None:
        self.session, self.loader, self.score = session, loader, score
        config = session.config
        backends = read_backends(config.label_path, session.network.experts)
        self.usage = replace(usage, backends=backends)
        # The last step of an epoch has the batches that are left.
        self._batches_per_epoch = len(loader)
        steps_per_epoch = math.ceil(self._batches_per_epoch / config.accumulate_steps)
        self.schedule = Schedule(
            config.init_lr,
            config.min_lr,
            epochs=config.max_epoch,
            steps_per_epoch=steps_per_epoch,
            by_epoch=lr_by_epoch,
            warmup_steps=config.warmup_steps,
            warmup_lr=config.warmup_lr,
        )
        accelerator = session.accelerator
        self.optimizer = build_optimizer(session.model, config.init_lr, config.weight_decay)
        half = accelerator.mixed_precision == "fp16"
        self.scaler = torch.amp.GradScaler(accelerator.device.type, enabled=half)
        self.stepper = Stepper(
            session.model,
            self.optimizer,
            self.scaler,
            config.accumulate_steps,
            config.max_grad_norm,
            config.batch_size_train,
        )
        self.skipped_steps = SkippedSteps(
            config.max_skipped_steps,
            session.folder / "skipped_steps.json",
            accelerator,
            loader.dataset.image_keys,
        )
        self.stop = StopRequest(accelerator)
        self.description = describe(session.network, session.size.tokenizer, config.class_tables, self.usage)
        self.saver = Saver(session, self.optimizer, self.scaler, self.description, loader.dataset)
        self.progress = self.saver.restore()
        settings = vars(session.args) | config_as_json(config)
        resumed_at = self.progress.step if session.args.from_checkpoint else None
        self.tracking = Tracking(accelerator, session.folder, settings, resumed_at=resumed_at)
        self.meter = Meter(accelerator)
        self._bar: tqdm | None = None
        self._traced = False
        self._losses, self._lr = MeanLoss(), 0.0
        self._samples: list[int] = []  # of the step in progress

    @property
    def last_epoch(self) -> bool:
        """Whether the epoch that runs, or has just run, is the last."""
        return self.progress.epoch + 1 >= self.session.config.max_epoch

    def epochs(self) -> Iterator[int]:
        """The epochs that are left; `end_epoch` must end each."""
        while self.progress.epoch < self.session.config.max_epoch:
            yield self.progress.epoch

    def batches(self) -> Iterator[dict[str, Any]]:
        """The batches of an epoch, or of what is left of it, collated, on the host; saves between steps.

        Raises:
            Stopped: a signal came; all is saved.
        """
        epoch = self.progress.epoch
        self.loader.dataset.set_epoch(epoch)
        self.loader.sampler.start_at(epoch, self.progress.consumed)
        self.session.model.train()
        self._begin_sums()
        self._bar = progress_bar(
            self.loader,
            desc=f"epoch {epoch + 1}",
            initial=self._batches_per_epoch - len(self.loader),
            total=self._batches_per_epoch,
            disable=not self.session.is_main,
        )
        batches = self.meter.timed(self._bar, self.progress.step)
        with self.stop.after_a_step(), self._bar:
            batches = self.stepper.batches(batches, len(self.loader))
            if self.session.args.profile and self.session.is_main and not self._traced:
                self._traced = True
                batches = traced(batches, len(self.loader), self.session.folder)
            for batch in batches:
                self._samples += batch["index"].tolist()
                self._lr = self.schedule.lr(self._scheduled_step())
                set_lr(self.optimizer, self._lr)
                self.stop.ask()
                yield batch
                self._after_batch()
            self._save()  # before the evaluation, which may take long
        average_statistics(self.session.model, self.session.accelerator)
        say_cut_texts(self.session, "training")

    def _begin_sums(self) -> None:
        """Random states and sums of a new epoch, or as they were inside one."""
        # Seeded by epoch (and process), so that a resumed run draws what an uninterrupted one would.
        set_seed(self.session.args.seed + 1000 * self.progress.epoch, device_specific=True)
        self._losses = MeanLoss()
        if sums := self.saver.restore_epoch(self.progress):
            self._losses.sum, self._losses.samples, self._lr = sums["loss"], sums["samples"], sums["lr"]

    def _scheduled_step(self) -> int:
        """The step by which the learning rate goes: the position in the data, whatever the global batch."""
        inside = self.progress.consumed // self.session.global_batch
        return self.progress.epoch * self.schedule.steps_per_epoch + inside

    def step(self, loss: Tensor) -> None:
        """Adds the gradient of a batch's loss; after the last batch of a step, takes the step.

        Args:
            loss: the mean over the batch's samples, a scalar.

        Raises:
            UserError: too many steps in a row had a loss or gradient that was not finite.
        """
        norm = self.stepper.step(loss)
        self._losses.add(loss.detach(), self.stepper.samples)
        if norm is None:
            return
        self.progress.step += 1  # a skipped step counts: its batches are behind
        # The last step of an epoch may have fewer batches, smaller or padded ones.
        consumed = self.progress.consumed + self.session.global_batch
        self.progress.consumed = min(consumed, self.loader.sampler.length)
        self.progress.skipped_steps += self.skipped_steps.note(self.progress.step, norm, self._samples)
        self._samples = []
        if self.progress.step % LOG_EVERY == 0 and self.session.is_main:
            mean_loss = self._losses.mean()
            self._bar.set_postfix(loss=f"{mean_loss:.3f}", lr=f"{self._lr:.1e}")
            record = {"epoch": self.progress.epoch + 1, "step": self.progress.step}
            record |= {"loss": mean_loss, "lr": self._lr}
            if torch.isfinite(norm):  # JSON has no other numbers
                record["grad_norm"] = float(norm)
            record |= self.meter.recent(self.progress.step)
            self.tracking.log(record, self.progress.step)

    def _after_batch(self) -> None:
        """Saves if it is time, or if the run is to stop; only after a step."""
        signal = self.stop.answer()
        if self._samples:
            return
        every = self.session.config.save_every_steps
        if signal or (every and self.progress.step % every == 0):
            self._save()
        if signal:
            raise Stopped.by(signal)

    def _save(self) -> None:
        self.progress.skipped_steps += self.skipped_steps.check()
        if not all_finite(self.session.model, self.session.accelerator):
            raise UserError(
                f"after step {self.progress.step} the weights are no longer finite, and are not kept; lower "
                "init_lr or set max_grad_norm, and start again, from a checkpoint before if there is one"
            )
        sums = {"loss": self._losses.sum, "samples": self._losses.samples, "lr": self._lr}
        self.saver.save(self.progress, sums)

    def end_epoch(self, scores: dict[str, float] | None = None) -> None:
        """Keeps the weights if they are the best, and ends the epoch; every process must call it.

        Args:
            scores: of the evaluation, empty on all but the main process; None if there was none.

        Raises:
            UserError: the score by which weights are chosen is not finite.
        """
        session = self.session
        self.progress.epoch, self.progress.consumed = self.progress.epoch + 1, 0
        record = {"epoch": self.progress.epoch, "step": self.progress.step}
        record |= {"train_loss": self._losses.mean(), "lr": self._lr}
        record |= self.meter.epoch(self.progress.step) | (scores or {})
        if skipped := count_over_processes(self.loader.dataset.unreadable, session.accelerator):
            record["skipped"] = skipped
        if self.progress.skipped_steps:
            record["skipped_steps"] = self.progress.skipped_steps
        if scores is not None:
            # All processes must agree on whether this is the best: saving is a collective operation.
            score = broadcast_from_main(scores.get(self.score))
            if score is not None and not math.isfinite(score):
                raise UserError(f"{self.score} is {score}, so the weights are not kept; look at the results")
            if self.progress.improves(score):
                original = session.config.pytorch_model
                save_best(session.folder, session.accelerator, session.model, self.description, original)
        if session.is_main and skipped:
            print(f"skipped so far: {skipped} samples that could not be read")
        self.tracking.log(record, self.progress.step)
        self.saver.note(self.progress)  # last: a run that is killed before goes on with the evaluation

    def finish(self) -> None:
        """Prints all epochs."""
        self.tracking.finish()
        if self.session.is_main:
            print(f"\n{epoch_table(self.tracking.file)}")
            best = f"best weights (by {self.score})"
            if self.progress.best_score is None:
                best = f"newest weights ({self.score} was not computed)"
            print(f"the {best} are in {self.session.folder / 'model.safetensors'}")
