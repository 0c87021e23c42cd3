"""The training loop of all scripts: `Trainer.fit` shows a whole step, in order.

A script describes its task and hands over:

    task = Task(loss, evaluate, InferenceDefaults(prefix="A picture of"), score="CIDEr")
    train_or_evaluate(run, task)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, gather_object, set_seed
from torch import Tensor
from tqdm import tqdm

from common.cli import Stopped
from common.errors import UserError
from common.progress import progress_bar
from common.yaml_config import config_as_json
from dataset.label_manifest import read_backends
from helpers.checkpoints.load import InferenceDefaults, describe
from helpers.evaluation.prediction import epoch_table, say_cut_texts, warn_of_overlap
from helpers.training.distribution.batch_norm import average_statistics
from helpers.training.distribution.sharding import all_finite
from helpers.training.interruption import StopRequest
from helpers.training.optimizer_step import MeanLoss, OptimizerStep
from helpers.training.profiling import Trace
from helpers.training.resume.saver import Saver
from helpers.training.run import Run
from helpers.training.schedule import Schedule, build_optimizer
from helpers.training.skipped_steps import SkippedSteps
from helpers.training.tracking import Meter, Tracking

LOG_EVERY = 50  # optimizer steps between two lines of metrics.jsonl


@dataclass(frozen=True)
class Task:
    """What a script trains and evaluates.

    Attributes:
        loss: the mean loss of a collated batch, a scalar; called in training mode, under autocast.
        evaluate: evaluates the model and gives its scores by name, on other processes than the main one none.
            Its argument names the files of results: `test`, or `epoch_<n>`.
        usage: how the task uses the model, written beside its weights.
        score: the best weights are those of the highest such score, of equal ones the newest; while no
            evaluation has had this score, the newest.
        lr_by_epoch: the cosine falls by epoch rather than by step.
        evaluate_every: epochs between evaluations; the last epoch always has one.
    """

    loss: Callable[[dict[str, Any]], Tensor]
    evaluate: Callable[[str], dict[str, float]]
    usage: InferenceDefaults
    score: str
    lr_by_epoch: bool = False
    evaluate_every: int = 1


def train_or_evaluate(run: Run, task: Task) -> None:
    """Does what the flags ask for: a dry run ends here, `--evaluate` only evaluates."""
    if run.args.dry_run:
        if run.is_main:
            print("dry run: all is in order, nothing is written")
    elif run.args.evaluate:
        task.evaluate("test")
    else:
        if run.is_main and run.test_loader is not None:
            warn_of_overlap(run.train_loader.dataset, run.test_loader.dataset)
        run.claim_folder()
        Trainer(run, task).fit()


class Trainer:
    """Trains a run's model, from the beginning or where the run's checkpoint stopped.

    Args:
        run: its folder is claimed.
        task: what to train.
    """

    def __init__(self, run: Run, task: Task) -> None:
        self.run, self.task, self.loader = run, task, run.train_loader
        config, accelerator, dataset = run.config, run.accelerator, run.train_loader.dataset
        self.batches_per_epoch = len(self.loader)
        # The last step of an epoch has the batches that are left.
        steps_per_epoch = math.ceil(self.batches_per_epoch / config.accumulate_steps)
        self.schedule = Schedule(
            config.init_lr,
            config.min_lr,
            epochs=config.max_epoch,
            steps_per_epoch=steps_per_epoch,
            by_epoch=task.lr_by_epoch,
            warmup_steps=config.warmup_steps,
            warmup_lr=config.warmup_lr,
        )
        self.optimizer = build_optimizer(run.model, config.init_lr, config.weight_decay)
        half = accelerator.mixed_precision == "fp16"
        scaler = torch.amp.GradScaler(accelerator.device.type, enabled=half)
        self.step = OptimizerStep(
            run.model,
            self.optimizer,
            scaler,
            config.max_grad_norm,
            usual_samples=config.batch_size_train * config.accumulate_steps,
        )
        skipped = run.folder / "skipped_steps.json"
        self.skipped_steps = SkippedSteps(config.max_skipped_steps, skipped, accelerator, dataset.image_keys)
        self.stop = StopRequest(accelerator)
        network, backends = run.plan.network, read_backends(config.label_path, run.plan.network.experts)
        usage = replace(task.usage, backends=backends)
        description = describe(network, run.plan.size.tokenizer, config.class_tables, usage)
        self.saver = Saver(run, self.optimizer, scaler, description)
        self.progress = self.saver.restore()
        settings = vars(run.args) | config_as_json(config)
        resumed_at = self.progress.step if run.checkpoint else None
        self.tracking = Tracking(accelerator, run.folder, settings, resumed_at=resumed_at)
        self.meter = Meter(accelerator)
        self.losses, self.lr = MeanLoss(), 0.0  # of the epoch; of the last step
        self.to_trace = run.args.profile and run.is_main

    def fit(self) -> None:
        """Trains the epochs that are left.

        Raises:
            Stopped: a signal came; all is saved.
            UserError: loss, gradient or weights are not finite, too often.
        """
        run, config, step, progress = self.run, self.run.config, self.step, self.progress
        while progress.epoch < config.max_epoch:
            self._begin_epoch()
            batches = len(self.loader)  # of the epoch, or of what is left of it
            trace = Trace(run.folder, batches if self.to_trace else 0)
            read: list[int] = []  # samples of the step
            with self.stop.after_a_step(), self._progress_bar() as bar:
                for number, batch in enumerate(bar, start=1):
                    samples = len(batch["index"])
                    self.meter.batch_came(samples)
                    trace.begin_batch(number)
                    is_last = number % config.accumulate_steps == 0 or number == batches
                    if is_last:
                        self.stop.ask()

                    with step.batch(samples, is_last):
                        with run.accelerator.autocast():
                            loss = self.task.loss(batch)
                        step.backward(loss)
                    self.losses.add(loss.detach(), samples)
                    read += batch["index"].tolist()

                    if is_last:
                        norm = step.clip_gradient()
                        self._set_lr()
                        step.apply(norm)
                        self._count_step(norm, read)
                        read = []
                        if progress.step % LOG_EVERY == 0:
                            self._log_step(norm, bar)
                        signal = self.stop.answer()
                        due = config.save_every_steps and progress.step % config.save_every_steps == 0
                        if signal or due:
                            self._save()
                        if signal:
                            raise Stopped.by(signal)

                    trace.end_batch(number)
                    self.meter.batch_ended()
                self.meter.epoch_ended()
                self._save()  # before the evaluation, which may take long
            self.to_trace = False

            average_statistics(run.model, run.accelerator)
            say_cut_texts(run, "training")
            epoch, scores = progress.epoch + 1, None
            if epoch == config.max_epoch or epoch % self.task.evaluate_every == 0:
                scores = self.task.evaluate(f"epoch_{epoch}")
            progress.epoch, progress.consumed = epoch, 0
            if scores is not None and self._are_best(scores):
                self.saver.save_best()
            self._log_epoch(scores or {})
            self.saver.note(progress)  # last: a run that is killed before resumes with the evaluation
        self._finish()

    def _begin_epoch(self) -> None:
        """Makes samples, random states and sums those of a new epoch, or as they were inside one."""
        progress = self.progress
        self.loader.dataset.set_epoch(progress.epoch)
        self.loader.sampler.start_at(progress.epoch, progress.consumed)
        self.run.model.train()
        # Seeded by epoch (and process), so that a resumed run draws what an uninterrupted one would.
        set_seed(self.run.args.seed + 1000 * progress.epoch, device_specific=True)
        self.losses = MeanLoss()
        if sums := self.saver.restore_epoch(progress):
            self.losses.sum, self.losses.samples, self.lr = sums["loss"], sums["samples"], sums["lr"]
        self.meter.epoch_began(progress.step)

    def _progress_bar(self) -> tqdm:
        return progress_bar(
            self.loader,
            desc=f"epoch {self.progress.epoch + 1}",
            initial=self.batches_per_epoch - len(self.loader),
            total=self.batches_per_epoch,
            disable=not self.run.is_main,
        )

    def _set_lr(self) -> None:
        """The learning rate follows the position in the data, whatever the global batch was before."""
        inside = self.progress.consumed // self.run.global_batch
        self.lr = self.schedule.lr(self.progress.epoch * self.schedule.steps_per_epoch + inside)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr

    def _count_step(self, norm: Tensor, samples: list[int]) -> None:
        progress = self.progress
        progress.step += 1  # a skipped step counts: its batches are behind
        # The last step of an epoch may have fewer batches, smaller or padded ones.
        progress.consumed = min(progress.consumed + self.run.global_batch, self.loader.sampler.length)
        progress.skipped_steps += self.skipped_steps.note(progress.step, norm, samples)

    def _log_step(self, norm: Tensor, bar: tqdm) -> None:
        if not self.run.is_main:
            return
        step, mean_loss = self.progress.step, self.losses.mean()
        bar.set_postfix(loss=f"{mean_loss:.3f}", lr=f"{self.lr:.1e}")
        record = {"epoch": self.progress.epoch + 1, "step": step, "loss": mean_loss, "lr": self.lr}
        if torch.isfinite(norm):  # JSON has no other numbers
            record["grad_norm"] = float(norm)
        self.tracking.log(record | self.meter.recent(step), step)

    def _save(self) -> None:
        self.progress.skipped_steps += self.skipped_steps.check()
        if not all_finite(self.run.model, self.run.accelerator):
            raise UserError(
                f"after step {self.progress.step} the weights are no longer finite, and are not kept; lower "
                "init_lr or set max_grad_norm, and start again, from a checkpoint before if there is one"
            )
        sums = {"loss": self.losses.sum, "samples": self.losses.samples, "lr": self.lr}
        self.saver.save(self.progress, sums)

    def _are_best(self, scores: dict[str, float]) -> bool:
        """Whether the weights of these scores, which the main process has, are the best; on all processes."""
        (score,) = broadcast_object_list([scores.get(self.task.score)])
        if score is not None and not math.isfinite(score):
            raise UserError(f"{self.task.score} is {score}, so the weights are not kept; look at the results")
        return self.progress.improves(score)

    def _log_epoch(self, scores: dict[str, float]) -> None:
        progress = self.progress
        record = {"epoch": progress.epoch, "step": progress.step}
        record |= {"train_loss": self.losses.mean(), "lr": self.lr}
        record |= self.meter.epoch(progress.step) | scores
        unreadable = torch.cat(gather_object([self.loader.dataset.unreadable]))  # of all processes
        if skipped := len(unreadable.unique()):
            record["skipped"] = skipped
            if self.run.is_main:
                print(f"skipped so far: {skipped} samples that could not be read")
        if progress.skipped_steps:
            record["skipped_steps"] = progress.skipped_steps
        self.tracking.log(record, progress.step)

    def _finish(self) -> None:
        """Prints all epochs."""
        self.tracking.finish()
        if self.run.is_main:
            print(f"\n{epoch_table(self.tracking.file)}")
            best = f"best weights (by {self.task.score})"
            if self.progress.best_score is None:
                best = f"newest weights ({self.task.score} was not computed)"
            print(f"the {best} are in {self.run.folder / 'model.safetensors'}")
