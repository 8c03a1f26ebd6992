"""Stopping criteria. The loss is the out-of-sample loss (validation: 1 - accuracy, or mse); lower is better.

Source of GL, PQ and Patience (called UP there): Prechelt, "Early stopping - but when?", in: Neural networks: tricks of
the trade, 1998.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from metalearn.config.checks import at_least
from metalearn.controls.loop import Control, ControlLoop


@dataclass(kw_only=True)
class NumberLimit(Control):
    """Stop after n cycles; in a search, after n trials that have not failed."""

    n: int

    def __post_init__(self) -> None:
        at_least(1, n=self.n)

    def apply(self, run: ControlLoop) -> str | None:
        """Stop in cycle n."""
        return f"{self.n} {run.unit} are done" if run.number >= self.n else None


@dataclass(kw_only=True)
class TimeLimit(Control):
    """Stop after a number of hours of training, over all sessions of the run. Checked within a Step too."""

    hours: float

    def __post_init__(self) -> None:
        if self.hours <= 0:
            raise ValueError(f"hours={self.hours}: must be above 0")

    def apply(self, run: ControlLoop) -> str | None:
        """Compare the training time with the limit."""
        return f"{self.hours:g} hours have passed" if run.seconds >= 3600 * self.hours else None

    def tick(self, run: ControlLoop) -> str | None:
        """Compare the training time with the limit."""
        return self.apply(run)


@dataclass(kw_only=True)
class Patience(Control):
    """Stop after n consecutive increases of the loss (Prechelt's UP_n, with strips of one measurement)."""

    n: int
    reads_loss = True

    def __post_init__(self) -> None:
        at_least(1, n=self.n)

    def apply(self, run: ControlLoop) -> str | None:
        """Compare the last n + 1 losses."""
        losses = run.losses[-self.n - 1 :]
        risen = len(losses) > self.n and all(b > a for a, b in pairwise(losses))
        return f"the loss rose {self.n} times in a row" if risen else None


@dataclass(kw_only=True)
class NumberSinceBest(Control):
    """Stop when the best loss was measured n measurements ago."""

    n: int
    reads_loss = True

    def __post_init__(self) -> None:
        at_least(1, n=self.n)

    def apply(self, run: ControlLoop) -> str | None:
        """Count the measurements since the smallest loss."""
        losses = [loss if math.isfinite(loss) else math.inf for loss in run.losses]
        since = len(losses) - 1 - losses.index(min(losses)) if losses else 0
        return f"the best loss was measured {since} measurements ago" if since >= self.n else None


@dataclass(kw_only=True)
class Threshold(Control):
    """Stop when the loss is below a value. In classification, 0.03 means an accuracy of 97%."""

    value: float
    reads_loss = True

    def apply(self, run: ControlLoop) -> str | None:
        """Compare the last loss with the value."""
        losses = run.losses
        return f"the loss {losses[-1]:g} is below {self.value:g}" if losses and losses[-1] < self.value else None


@dataclass(kw_only=True)
class GL(Control):
    """Stop when the generalization loss exceeds alpha (Prechelt 1998, GL_alpha).

    The generalization loss is 100 (E / E_opt - 1), in percent. E is the last loss, E_opt the smallest so far.
    If E_opt is 0, any larger loss exceeds alpha.
    """

    alpha: float
    reads_loss = True

    def __post_init__(self) -> None:
        positive(self.alpha)

    def apply(self, run: ControlLoop) -> str | None:
        """Compare the generalization loss with alpha."""
        loss = generalization_loss(run.losses)
        return f"the generalization loss {loss:.2f}% exceeds {self.alpha:g}%" if loss > self.alpha else None


@dataclass(kw_only=True)
class PQ(Control):
    """Stop when the quotient of generalization loss and progress exceeds alpha (Prechelt 1998, PQ_alpha).

    The progress is 1000 (mean / min - 1) of the last k training losses. It is small when training hardly changes.

    Args:
        alpha: limit of the quotient.
        k: length of the strip, in rows of metrics.csv; each row is a mean over log_every meta-steps.
    """

    alpha: float
    k: int
    reads_loss = True

    def __post_init__(self) -> None:
        positive(self.alpha)
        at_least(2, k=self.k)

    def apply(self, run: ControlLoop) -> str | None:
        """Compare the quotient with alpha."""
        strip = run.all_training_losses[-self.k :]
        if len(strip) < self.k or min(strip) <= 0:
            return None
        loss, progress = generalization_loss(run.losses), 1000 * (sum(strip) / (self.k * min(strip)) - 1)
        if loss <= self.alpha * progress:
            return None
        return f"generalization loss {loss:.2f} over progress {progress:.2f} exceeds {self.alpha:g}"


@dataclass(kw_only=True)
class InvalidValue(Control):
    """Stop at a NaN or an infinity in loss, gradient or weights.

    The last valid checkpoint is kept, and the reason names the meta-step.
    """

    retrains = True

    def apply(self, run: ControlLoop) -> str | None:
        """Check the training values and the measured loss."""
        if run.model.invalid:
            return run.model.invalid
        if run.loss is None or math.isfinite(run.loss):
            return None
        return f"the loss measured at meta-step {run.step} is {run.loss}"

    def tick(self, run: ControlLoop) -> str | None:
        """Check the training values and the measured loss."""
        return self.apply(run)


def generalization_loss(losses: list[float]) -> float:
    """Return 100 (E / E_opt - 1), or 0 if no loss was measured."""
    known = [loss for loss in losses if math.isfinite(loss)]
    if known and not math.isfinite(losses[-1]):
        return math.inf
    if not known or known[-1] == min(known):
        return 0.0
    return 100 * (known[-1] / min(known) - 1) if min(known) > 0 else math.inf


def positive(alpha: float) -> None:
    """Raise ValueError unless alpha is above 0."""
    if alpha <= 0:
        raise ValueError(f"alpha={alpha}: must be above 0")
