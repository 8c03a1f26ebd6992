"""Controls that act: train, evaluate, save, report, call functions."""

import re
import time
from dataclasses import dataclass
from typing import Any

from metalearn.config.checks import at_least
from metalearn.controls.functions import call_own, function, known, predicate, value_of
from metalearn.controls.loop import Control, ControlLoop, Failed, Plan, Stop
from metalearn.runtime.console import say, warn


@dataclass(kw_only=True)
class Step(Control):
    """Train for n meta-steps."""

    n: int
    trains = True
    retrains = True

    def __post_init__(self) -> None:
        at_least(1, n=self.n)

    def apply(self, run: ControlLoop) -> Stop | None:
        """Train up to n meta-steps after the one at which this control started, also in a resumed run."""
        assert run.start_step is not None
        return run.train(run.start_step + self.n)


@dataclass(kw_only=True)
class Evaluate(Control):
    """Evaluate on the validation classes and save the best learner so far as best.pt."""

    measures = True

    def apply(self, run: ControlLoop) -> None:
        """Measure the out-of-sample loss."""
        run.measure()


@dataclass(kw_only=True)
class Save(Control):
    """Write a checkpoint.

    Args:
        file: name in checkpoints/. Runs are resumed from `last.pt`; its predecessor is kept as `previous.pt`. Another
            name, such as `step_{step}.pt`, keeps a learner.
        seconds: interval at which `last.pt` is also written within a long Step.
    """

    file: str = "last.pt"
    seconds: float = 60.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.=-]*(\{step\})?[\w.=-]*\.pt", self.file) or self.file.startswith("."):
            raise ValueError(f"file={self.file}: must be a file name that ends in .pt; it may contain {{step}}")
        if self.file in ("best.pt", "previous.pt"):
            raise ValueError(f"file={self.file}: is written automatically; choose another name")
        if self.seconds <= 0:
            raise ValueError(f"seconds={self.seconds}: must be above 0")
        self._saved = time.monotonic()
        # Retraining must not replace the learners kept by the first training
        self.retrains = self.file == "last.pt"  # type: ignore[misc]

    def apply(self, run: ControlLoop) -> None:
        """Write the checkpoint."""
        run.model.save(self.file.format(step=run.step))
        self._saved = time.monotonic()

    def tick(self, run: ControlLoop) -> None:
        """Write `last.pt` when `seconds` have passed, unless a value is NaN or infinite."""
        if self.file == "last.pt" and time.monotonic() - self._saved >= self.seconds and not run.model.invalid:
            self.apply(run)


@dataclass(kw_only=True)
class Info(Control):
    """Print a value.

    Args:
        f: a column of metrics.csv or timing.csv, such as `grad_norm`, or a function of the control loop, such as
            `mypackage.mymodule.function`, whose result is printed.
    """

    f: str

    def __post_init__(self) -> None:
        self._value = function(self.f) if "." in self.f else None

    def check(self, plan: Plan, name: str) -> None:
        """Raise UserError if no value has this name."""
        if self._value is None:
            known(self.f, plan, f"{plan.place}.{name}.f={self.f}")

    def apply(self, run: ControlLoop) -> None:
        """Print the value."""
        value = call_own(self.f, self._value, run) if self._value else value_of(self.f, run)
        say(f"step {run.step}: {self.f} {value}" if self._value is None else f"step {run.step}: {value}")


@dataclass(kw_only=True)
class Warn(Control):
    """Print a warning if a predicate holds.

    Args:
        predicate: a comparison such as `grad_norm > 100`, or a function of the control loop, `mypackage.function`.
        message: text of the warning; by default the predicate.
    """

    predicate: str
    message: str | None = None

    def __post_init__(self) -> None:
        self._name, self._holds = predicate(self.predicate)

    def check(self, plan: Plan, name: str) -> None:
        """Raise UserError if no value has this name."""
        if self._name:
            known(self._name, plan, f"{plan.place}.{name}.predicate={self.predicate}")

    def apply(self, run: ControlLoop) -> str | None:
        """Check the predicate."""
        if self._holds(run):
            warn(f"step {run.step}: {self.message or self.predicate}")
        return None


@dataclass(kw_only=True)
class Error(Warn):
    """End the run with an error and exit status 1 if a predicate holds. Arguments as for Warn."""

    def apply(self, run: ControlLoop) -> None:
        """Check the predicate."""
        if self._holds(run):
            raise Failed(self.message or self.predicate)


@dataclass(kw_only=True)
class Callback(Control):
    """Call a function of the control loop: `mypackage.function(run)`.

    Args:
        f: dotted path of the function.
        stop_if_true: stop the loop when the function returns True.
    """

    f: str
    stop_if_true: bool = False

    def __post_init__(self) -> None:
        self._function = function(self.f)

    def apply(self, run: ControlLoop) -> str | None:
        """Call the function."""
        stop = call_own(self.f, self._function, self.argument(run))
        return f"{self.f} returned True" if self.stop_if_true and stop is True else None

    def argument(self, run: ControlLoop) -> Any:
        """Return the argument of the function."""
        return run


@dataclass(kw_only=True)
class WithLoss(Callback):
    """Call a function of the out-of-sample loss, in cycles where it was measured. Arguments as for Callback."""

    reads_loss = True

    def apply(self, run: ControlLoop) -> str | None:
        """Call the function if the loss was measured in this cycle."""
        return super().apply(run) if run.loss is not None else None

    def argument(self, run: ControlLoop) -> float | None:
        """Return the out-of-sample loss of this cycle."""
        return run.loss


@dataclass(kw_only=True)
class WithTrainingLosses(Callback):
    """Call a function of the list of training losses recorded in this cycle. Arguments as for Callback."""

    def argument(self, run: ControlLoop) -> list[float]:
        """Return the training losses, each a mean over log_every meta-steps."""
        return run.training_losses


@dataclass(kw_only=True)
class WithModel(Callback):
    """Call a function of the current learner, as returned by `metalearn.load`. Arguments as for Callback."""

    def argument(self, run: ControlLoop) -> Any:
        """Return a metalearn.learner.learner.Learner."""
        return run.model.learner()
