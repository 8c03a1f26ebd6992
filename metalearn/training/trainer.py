"""Meta-training: the outer loop, validation, and the choice of the best learner."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.parameters import MetaGradient, MetaParameters
from metalearn.controls.loop import Stop
from metalearn.data.base import TaskSource
from metalearn.recording.checkpoint import LAST
from metalearn.recording.record import Record
from metalearn.runtime.console import evaluated
from metalearn.runtime.errors import UserError
from metalearn.runtime.progress import Progress
from metalearn.runtime.random_state import random_state, set_random_state
from metalearn.training.checkpoints import Checkpoints
from metalearn.training.evaluate import Score
from metalearn.training.outer_optimizer import OuterOptimizer
from metalearn.training.result import Checkpoint, RunState, TrainerState, TrainingResult, detached, unmeasured
from metalearn.training.selection import Selection
from metalearn.training.step_metrics import StepMetrics


@dataclass(kw_only=True)
class Trainer:
    """Take meta-steps, measure on validation classes, and keep the last and the best learner.

    The control loop (metalearn.controls.loop) drives it: controls call `train`, `measure` and `save`.

    Args:
        source: tasks of the training classes.
        executor: computes the meta-gradient of a meta-batch at the given meta-parameters.
        validate: returns the score of meta-parameters on validation classes; None in a retraining, which learns them.
        run_state: adds the rest of the run's state to that of this trainer, for `last.pt`.
        device: `cpu`, `cuda` or `cuda:N`.
        limit: the number of meta-steps, at most.
        log_every: meta-steps between rows of metrics.csv.
        before_step: called before each meta-step with its number; an exception here leaves the state unchanged.
        after_step: called after each meta-step.
        make_learner: makes a learner for the user's controls from meta-parameters and their meta-step.
    """

    algorithm: Algorithm
    source: TaskSource
    outer: OuterOptimizer
    executor: Callable[[MetaParameters, Any], MetaGradient]
    validate: Callable[[MetaParameters], Score] | None
    record: Record
    checkpoints: Checkpoints
    run_state: Callable[[TrainerState], RunState]
    device: str
    limit: int
    log_every: int
    before_step: Callable[[int], None] = lambda step: None
    after_step: Callable[[], None] = lambda: None
    make_learner: Callable[[MetaParameters, int], Any] = lambda params, step: params
    progress: Progress | None = None

    def __post_init__(self) -> None:
        self.step, self.trained_seconds = 0, 0.0
        self.selection = Selection(
            algorithm=self.algorithm, validate=self.validate, record=self.record, checkpoints=self.checkpoints
        )
        self._metrics = StepMetrics()
        self._lr = self.outer.lr  # of the last meta-step
        self._earlier_seconds, self._session_start = 0.0, time.monotonic()

    def train(self, until: int) -> None:
        """Take one meta-step. Record a row at multiples of log_every, and at `until`."""
        self.before_step(self.step)
        self.selection.begin(self.params, self.step)
        started, self._lr = time.perf_counter(), self.outer.lr
        batch = self.algorithm.sample(self.source, self.step, self.device)
        gradient = self.executor(self.params, batch)
        norms = self.outer.step(gradient)
        self._metrics.add({**gradient.metrics, **norms})
        self.step += 1
        self.after_step()
        row = self.step == min(until, self.limit) or self.step % self.log_every == 0
        if row and self.device != "cpu":  # the time of a row includes what is queued on the device
            torch.cuda.synchronize(self.device)
        elapsed = time.perf_counter() - started
        self.trained_seconds += elapsed
        self._metrics.seconds += elapsed
        if row:
            self._record_row()
        if self.progress:
            self.progress.step(self.step, self._so_far)

    def measure(self) -> float:
        """Validate, keep the best learner, and return the loss that controls use: 1 - accuracy, or mse."""
        if self.selection.measured != self.step:  # a run resumed with other controls may ask again
            score = self.selection.measure(self.params, self.step, valid=not self.invalid)
            self.outer.schedule.measured(self.step, score.mean)
            if self.progress and "train_loss" in self.values:
                objective = self.algorithm.objective
                shown = f"{objective.name} {objective.spell(score.mean, score.ci95)}"
                evaluated(self.step, self.limit, self.values, shown)
        return self.selection.loss

    def save(self, file: str) -> None:
        """Write `last.pt`, or the present learner under another name.

        After a NaN nothing is written, so that the last good checkpoint remains.
        """
        self._metrics.find_invalid(self.step)  # a signal may come in the middle of a row
        if self.invalid:
            return
        if file == LAST:
            self.checkpoints.save_state(self.params, self.step, self.run_state(self.state()))
        else:
            self.checkpoints.save(file, self.params, self.step)

    def finish(self, stop: Stop) -> TrainingResult:
        """Record the last row, measure the last learner if it was not measured, and save.

        Raises:
            UserError: training diverged before any learner could be kept.
        """
        if len(self._metrics):  # a control stopped the training between two rows
            self._record_row()
        if self.validate is None and not self.invalid:
            self.selection.keep(unmeasured(), self.params, self.step)
        elif not self.invalid:
            self.measure()
        self.record.finish()
        self.save(LAST)
        best = self.selection.best
        if best is None:
            what = self.invalid or "no measurement gave a number"
            when = "before any measurement: nothing was learned" if self.validate else "in the retraining"
            how = "" if self.validate else ", or leave the retraining out: control.retrain=false allow_changes=true"
            raise UserError(
                f"{what}, {when}; lower the learning rates (outer.optimizer.lr=, algo.inner_optimizer.lr=) "
                f"or set outer.clip={how}"
            )
        rates = self.outer.schedule.rates
        return TrainingResult(best, self.step, stop, self.trained_seconds, self.record.state(), rates)

    @property
    def params(self) -> MetaParameters:
        """The present meta-parameters."""
        return self.outer.params

    # -- what controls read (metalearn.controls.iterated) ----------------------------------------------------

    @property
    def invalid(self) -> str | None:
        """The first NaN or infinity in loss, gradient or weights, in words; None if there was none."""
        return self._metrics.invalid

    @property
    def seconds(self) -> float:
        """Time of all sessions of this training in seconds, evaluation included."""
        return self._earlier_seconds + time.monotonic() - self._session_start

    @property
    def values(self) -> Mapping[str, float]:
        """The last row of metrics.csv and of timing.csv."""
        return {**self.record.rows[-1], **self.record.timing.rows[-1]} if self.record.rows else {}

    @property
    def names(self) -> Sequence[str]:
        """Names of the recorded values."""
        return self.record.names

    def training_losses(self, after: int) -> list[float]:
        """Training losses of the rows after a meta-step, each the mean over log_every meta-steps."""
        return [row["train_loss"] for row in self.record.rows if row["step"] > after and "train_loss" in row]

    def forget_scores(self) -> None:
        """Forget earlier measurements: they are of other validation tasks."""
        self.selection.forget()
        self.outer.schedule.measured(self.step, None)

    def learner(self) -> Any:
        """Return the present learner, as metalearn.load gives it."""
        return self.make_learner(detached(self.params), self.step)

    # -- state ----------------------------------------------------------------------------------------------------

    def state(self) -> TrainerState:
        """Return the state of this trainer, without meta-parameters and meta-step."""
        return {
            "optimizer": self.outer.state(),
            "selection": self.selection.state(),
            "since": self._metrics.stacked(),
            "tables": self.record.state(),
            "row_seconds": self._metrics.seconds,
            "lr": self._lr,
            "trained_seconds": self.trained_seconds,
            "seconds": self.seconds,
            "random": random_state(self.device),
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Resume from a checkpoint, whose tensors are on the CPU. The training then continues bit-identically."""
        state = checkpoint["state"]["trainer"]
        self.step = checkpoint["step"]
        self.outer.restore(MetaParameters.of(checkpoint["params"]), state["optimizer"], self.step)
        self._lr = state["lr"]
        since = {name: value.to(self.device) for name, value in state["since"].items()}
        self._metrics.restore(since, state["row_seconds"])
        self.trained_seconds, self._earlier_seconds = state["trained_seconds"], state["seconds"]
        self._session_start = time.monotonic()
        self.selection.restore(state["selection"], self.device)
        set_random_state(state["random"], self.device)
        self.record.start(state["tables"])

    def _so_far(self) -> Mapping[str, float]:
        """Return loss, score and rate since the last row, to be shown; empty if a row was recorded just now."""
        if not len(self._metrics):
            return {}
        means, seconds = self._metrics.so_far()
        return means | self._rate(len(self._metrics), seconds)

    def _rate(self, steps: int, seconds: float) -> dict[str, float]:
        return {f"{self.algorithm.unit}_per_second": steps * self.algorithm.meta_batch / seconds}

    def _record_row(self) -> None:
        """Record the means since the last row."""
        rate = self._rate(len(self._metrics), self._metrics.seconds)
        row = self._metrics.means(self.step) | {"lr": self._lr, **rate, "train_seconds": self.trained_seconds}
        self.record.log(self.step, row)
        if self.progress:
            self.progress.values(row)
