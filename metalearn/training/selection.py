"""Validation during a training, and the choice of the best learner."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.parameters import MetaParameters
from metalearn.recording.checkpoint import BEST
from metalearn.recording.record import Record
from metalearn.runtime.console import warn
from metalearn.training.checkpoints import Checkpoints
from metalearn.training.evaluate import Score
from metalearn.training.layers import layer_parts, layer_statistics
from metalearn.training.result import Best, SelectionState, detached


@dataclass(kw_only=True)
class Selection:
    """Measure learners on validation classes, record their scores, and keep the best one as `best.pt`.

    Args:
        algorithm: its objective decides which of two scores is better.
        validate: returns the score of meta-parameters on validation classes; None in a retraining, which learns them.

    Attributes:
        best: the best learner so far.
        measured: the meta-step of the last measurement; -1 before the first.
        loss: that measurement as controls use it: 1 - accuracy, or mse; NaN if it was not finite.
    """

    algorithm: Algorithm
    validate: Callable[[MetaParameters], Score] | None
    record: Record
    checkpoints: Checkpoints

    def __post_init__(self) -> None:
        self.best: Best | None = None
        self.measured, self.loss = -1, math.nan

    def begin(self, params: MetaParameters, step: int) -> None:
        """Record the layers before any training; nothing if they are recorded."""
        if self.validate is not None and not self.record.layers.rows:
            self._log_layers(params, step, {})

    def measure(self, params: MetaParameters, step: int, valid: bool) -> Score:
        """Validate a learner, record its score, and keep it if it is the best so far.

        Args:
            params: its meta-parameters.
            step: its meta-step.
            valid: False if a value of its training was not finite; it is not kept then.
        """
        assert self.validate is not None
        objective, score = self.algorithm.objective, self.validate(params)
        loss = objective.as_loss(score.mean)
        # Non-finite outputs count as score 0, but their loss must not pass for a number
        self.measured, self.loss = step, loss if math.isfinite(score.loss) else math.nan
        if score.nonfinite:
            warn(f"step {step}: {score.nonfinite} of {score.tasks} validation tasks have non-finite outputs")
        values = {f"val_{objective.name}": score.mean, "val_ci95": score.ci95, "val_loss": score.loss}
        self.record.log(step, values)
        self._log_layers(params, step, score.changes)
        better = self.best is None or objective.better(score.mean, self.best.score.mean)
        if better and valid and math.isfinite(self.loss):
            self.keep(score, params, step)
        return score

    def keep(self, score: Score, params: MetaParameters, step: int) -> None:
        """Keep a learner as the best one."""
        self.best = Best(score, step, detached(params))
        self._save()

    def forget(self) -> None:
        """Forget the best learner: earlier scores are of other validation tasks."""
        self.best, self.measured = None, -1

    def state(self) -> SelectionState:
        """Return what `restore` needs, as plain values and tensors."""
        best = None if self.best is None else self.best.state()
        return {"best": best, "measured": self.measured, "loss": self.loss}

    def restore(self, state: SelectionState, device: str) -> None:
        """Resume from a state. `best.pt` may be of a later meta-step, and is written again."""
        self.best = None if state["best"] is None else Best.restored(state["best"], device)
        self.measured, self.loss = state["measured"], state["loss"]
        self._save()

    def _log_layers(self, params: MetaParameters, step: int, changes: Mapping[str, float]) -> None:
        self.record.log_layers(step, layer_statistics(params, layer_parts(self.algorithm, params)), changes)

    def _save(self) -> None:
        if self.best is not None:
            self.checkpoints.save(BEST, self.best.params, self.best.step)
