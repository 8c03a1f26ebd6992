"""Controls that do something: train, measure, save, tell, call."""

import re
import time
from dataclasses import dataclass
from typing import Any

from metalearn.config.checks import at_least
from metalearn.controls.functions import call_own, function, known, predicate, value_of
from metalearn.controls.loop import Control, ControlLoop, Failed, Stop
from metalearn.runtime.console import say, warn


@dataclass(kw_only=True)
class Step(Control):
    """Train for n more meta-steps."""

    n: int
    trains = True
    retrains = True

    def __post_init__(self) -> None:
        at_least(1, n=self.n)

    def apply(self, run: ControlLoop) -> Stop | None:
        """From where this control began, wherever a resumed run is."""
        assert run.began is not None
        return run.train(run.began + self.n)


@dataclass(kw_only=True)
class Evaluate(Control):
    """Measure on the validation classes, and keep the learner that is the best so far as best.pt."""

    measures = True

    def apply(self, run: ControlLoop) -> None:
        """Once a cycle."""
        run.measure()


@dataclass(kw_only=True)
class Save(Control):
    """Write a checkpoint.

    Args:
        file: in checkpoints/. `last.pt` is what a run is resumed from (the one before stays as `previous.pt`); under
            another name, such as `step_{step}.pt`, it is a learner to keep.
        seconds: `last.pt` is written in the middle of a long Step as well, so often.
    """

    file: str = "last.pt"
    seconds: float = 60.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.=-]*(\{step\})?[\w.=-]*\.pt", self.file) or self.file.startswith("."):
            raise ValueError(f"file={self.file}: must be a plain name that ends in .pt; it may have {{step}} in it")
        if self.file in ("best.pt", "previous.pt"):
            raise ValueError(f"file={self.file}: is written by itself")
        if self.seconds <= 0:
            raise ValueError(f"seconds={self.seconds}: must be above 0")
        self._saved = time.monotonic()
        # A retraining must not replace what the first training kept
        self.retrains = self.file == "last.pt"  # type: ignore[misc]

    def apply(self, run: ControlLoop) -> None:
        """Once a cycle."""
        run.model.save(self.file.format(step=run.step))
        self._saved = time.monotonic()

    def tick(self, run: ControlLoop) -> None:
        """By the clock, unless there is a NaN to save."""
        if self.file == "last.pt" and time.monotonic() - self._saved >= self.seconds and not run.model.invalid:
            self.apply(run)


@dataclass(kw_only=True)
class Info(Control):
    """Show a value: its name in metrics.csv or timing.csv, or what a function of the iteration returns.

    Args:
        f: such as `grad_norm`, or `mypackage.mymodule.function`.
    """

    f: str

    def __post_init__(self) -> None:
        self._value = function(self.f) if "." in self.f else None

    def check(self, run: ControlLoop, name: str) -> None:
        """Whether there is such a value."""
        if self._value is None:
            known(self.f, run, f"control.cycle.{name}.f={self.f}")

    def apply(self, run: ControlLoop) -> None:
        """Once a cycle."""
        value = call_own(self.f, self._value, run) if self._value else value_of(self.f, run)
        say(f"step {run.step}: {self.f} {value}" if self._value is None else f"step {run.step}: {value}")


@dataclass(kw_only=True)
class Warn(Control):
    """Warn wherever a predicate holds.

    Args:
        predicate: a comparison such as `grad_norm > 100`, or a function of the iteration, `mypackage.function`.
        message: what to say; by default the predicate.
    """

    predicate: str
    message: str | None = None

    def __post_init__(self) -> None:
        self._name, self._holds = predicate(self.predicate)

    def check(self, run: ControlLoop, name: str) -> None:
        """Whether there is such a value."""
        if self._name:
            known(self._name, run, f"control.cycle.{name}.predicate={self.predicate}")

    def apply(self, run: ControlLoop) -> str | None:
        """Once a cycle."""
        if self._holds(run):
            warn(f"step {run.step}: {self.message or self.predicate}")
        return None


@dataclass(kw_only=True)
class Error(Warn):
    """End the run with an error, and exit status 1, where a predicate holds; arguments as for Warn."""

    def apply(self, run: ControlLoop) -> None:
        """Once a cycle."""
        if self._holds(run):
            raise Failed(self.message or self.predicate)


@dataclass(kw_only=True)
class Callback(Control):
    """Call a function of the iteration: `mypackage.function(run)`.

    Args:
        f: the function.
        stop_if_true: whether it stops the iteration by returning True.
    """

    f: str
    stop_if_true: bool = False

    def __post_init__(self) -> None:
        self._function = function(self.f)

    def apply(self, run: ControlLoop) -> str | None:
        """Once a cycle."""
        stop = call_own(self.f, self._function, self.argument(run))
        return f"{self.f} returned True" if self.stop_if_true and stop is True else None

    def argument(self, run: ControlLoop) -> Any:
        """What the function is given."""
        return run


@dataclass(kw_only=True)
class WithLoss(Callback):
    """Call a function of the loss, in cycles where it was measured; arguments as for Callback."""

    reads_loss = True

    def apply(self, run: ControlLoop) -> str | None:
        """Once a cycle that measured."""
        return super().apply(run) if run.loss is not None else None

    def argument(self, run: ControlLoop) -> float | None:
        """The last out-of-sample loss."""
        return run.loss


@dataclass(kw_only=True)
class WithTrainingLosses(Callback):
    """Call a function of the training losses recorded in this cycle, a list; arguments as for Callback."""

    def argument(self, run: ControlLoop) -> list[float]:
        """Means over log_every meta-steps each."""
        return run.training_losses


@dataclass(kw_only=True)
class WithModel(Callback):
    """Call a function of the present learner, as `metalearn.load` would give it; arguments as for Callback."""

    def argument(self, run: ControlLoop) -> Any:
        """A metalearn.learner.learner.Learner."""
        return run.model.learner()
