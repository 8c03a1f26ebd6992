"""Controls that stop. A loss is out-of-sample (validation: 1 - accuracy, or mse); lower is better.

GL, PQ and Patience (his UP): Prechelt, "Early stopping - but when?", in: Neural networks: tricks of the trade, 1998.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from metalearn.config.checks import at_least
from metalearn.controls.loop import Control, ControlLoop


@dataclass(kw_only=True)
class NumberLimit(Control):
    """Stop after n cycles."""

    n: int

    def __post_init__(self) -> None:
        at_least(1, n=self.n)

    def apply(self, run: ControlLoop) -> str | None:
        """The n-th time."""
        return f"{self.n} cycles are done" if len(run.cycles) >= self.n else None


@dataclass(kw_only=True)
class TimeLimit(Control):
    """Stop after so many hours of this run, over all its sessions; looked at in the middle of a Step too."""

    hours: float

    def __post_init__(self) -> None:
        if self.hours <= 0:
            raise ValueError(f"hours={self.hours}: must be above 0")

    def apply(self, run: ControlLoop) -> str | None:
        """By the clock."""
        return f"{self.hours:g} hours have passed" if run.seconds >= 3600 * self.hours else None

    def tick(self, run: ControlLoop) -> str | None:
        """As `apply`."""
        return self.apply(run)


@dataclass(kw_only=True)
class Patience(Control):
    """Stop after n increases of the loss one after the other (Prechelt's UP, with strips of one measurement)."""

    n: int
    reads_loss = True

    def __post_init__(self) -> None:
        at_least(1, n=self.n)

    def apply(self, run: ControlLoop) -> str | None:
        """The last n + 1 losses."""
        losses = run.losses[-self.n - 1 :]
        risen = len(losses) > self.n and all(b > a for a, b in pairwise(losses))
        return f"the loss rose {self.n} times in a row" if risen else None


@dataclass(kw_only=True)
class NumberSinceBest(Control):
    """Stop when the best loss lies n measurements back."""

    n: int
    reads_loss = True

    def __post_init__(self) -> None:
        at_least(1, n=self.n)

    def apply(self, run: ControlLoop) -> str | None:
        """The place of the smallest loss."""
        losses = [loss if math.isfinite(loss) else math.inf for loss in run.losses]
        since = len(losses) - 1 - losses.index(min(losses)) if losses else 0
        return f"the best loss lies {since} measurements back" if since >= self.n else None


@dataclass(kw_only=True)
class Threshold(Control):
    """Stop when the loss falls below a value (classification: 0.03 is an accuracy of 97%)."""

    value: float
    reads_loss = True

    def apply(self, run: ControlLoop) -> str | None:
        """The last loss."""
        losses = run.losses
        return f"the loss {losses[-1]:g} is below {self.value:g}" if losses and losses[-1] < self.value else None


@dataclass(kw_only=True)
class GL(Control):
    """Stop when the generalisation loss 100 (E / E_opt - 1), in percent, exceeds alpha (Prechelt 1998, GL_alpha).

    E is the last loss, E_opt the smallest so far. After an E_opt of 0 any loss exceeds it.
    """

    alpha: float
    reads_loss = True

    def __post_init__(self) -> None:
        positive(self.alpha)

    def apply(self, run: ControlLoop) -> str | None:
        """At the last loss."""
        loss = generalisation_loss(run.losses)
        return f"the generalisation loss {loss:.2f}% exceeds {self.alpha:g}%" if loss > self.alpha else None


@dataclass(kw_only=True)
class PQ(Control):
    """Stop when generalisation loss over progress exceeds alpha (Prechelt 1998, PQ_alpha).

    Progress is 1000 (mean / min - 1) of the last k training losses: how much training still changes.

    Args:
        alpha: the quotient at which to stop.
        k: length of the strip, in rows of metrics.csv (each the mean over log_every meta-steps).
    """

    alpha: float
    k: int
    reads_loss = True

    def __post_init__(self) -> None:
        positive(self.alpha)
        at_least(2, k=self.k)

    def apply(self, run: ControlLoop) -> str | None:
        """At the last loss."""
        strip = run.all_training_losses[-self.k :]
        if len(strip) < self.k or min(strip) <= 0:
            return None
        loss, progress = generalisation_loss(run.losses), 1000 * (sum(strip) / (self.k * min(strip)) - 1)
        if loss <= self.alpha * progress:
            return None
        return f"generalisation loss {loss:.2f} over progress {progress:.2f} exceeds {self.alpha:g}"


@dataclass(kw_only=True)
class InvalidValue(Control):
    """Stop at a NaN or an infinity in loss, gradient or weights, keep the last good checkpoint, name the meta-step."""

    retrains = True

    def apply(self, run: ControlLoop) -> str | None:
        """What training came upon, or the loss measured."""
        if run.model.invalid:
            return run.model.invalid
        if run.loss is None or math.isfinite(run.loss):
            return None
        return f"the loss measured at meta-step {run.step} is {run.loss}"

    def tick(self, run: ControlLoop) -> str | None:
        """As `apply`."""
        return self.apply(run)


def generalisation_loss(losses: list[float]) -> float:
    """100 (E / E_opt - 1); 0 where nothing was measured."""
    known = [loss for loss in losses if math.isfinite(loss)]
    if known and not math.isfinite(losses[-1]):
        return math.inf
    if not known or known[-1] == min(known):
        return 0.0
    return 100 * (known[-1] / min(known) - 1) if min(known) > 0 else math.inf


def positive(alpha: float) -> None:
    """A ValueError for an alpha at which everything would stop."""
    if alpha <= 0:
        raise ValueError(f"alpha={alpha}: must be above 0")
