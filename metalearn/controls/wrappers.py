"""Controls that wrap another control."""

from dataclasses import dataclass
from typing import Any

from metalearn.config.checks import at_least
from metalearn.controls.loop import Control, ControlLoop, Plan, Stop


@dataclass(kw_only=True)
class Wrapper(Control):
    """Base class of controls that apply another control in some cycles only.

    Args:
        n: number of cycles, at least 1.
        control: the inner control. In a configuration: {NAME: {its settings}}.
    """

    n: int
    control: Control

    def __post_init__(self) -> None:
        at_least(1, n=self.n)
        for fact in ("trains", "measures", "reads_loss", "retrains"):
            setattr(self, fact, getattr(self.control, fact))

    def check(self, plan: Plan, name: str) -> None:
        """Check the inner control."""
        self.control.check(plan, name)

    def state(self) -> dict[str, Any]:
        """Return the state of the inner control."""
        return self.control.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the inner control."""
        self.control.restore(state)


@dataclass(kw_only=True)
class WarmUp(Wrapper):
    """Skip the first n cycles. The inner control does not see them."""

    def apply(self, run: ControlLoop) -> str | Stop | None:
        """Apply the inner control from cycle n + 1."""
        return self.control.apply(run.after(self.n)) if len(run.cycles) > self.n else None

    def tick(self, run: ControlLoop) -> str | None:
        """Apply the inner control from cycle n + 1."""
        return self.control.tick(run.after(self.n)) if len(run.cycles) > self.n else None


@dataclass(kw_only=True)
class Skip(Wrapper):
    """Apply the inner control in every n-th cycle and at the end of the run."""

    def apply(self, run: ControlLoop) -> str | Stop | None:
        """Apply the inner control in cycles n, 2 n, ... It does not see the cycles between them."""
        due = len(run.cycles) % self.n == 0 or run.step >= run.model.limit
        return self.control.apply(run.every(self.n)) if due else None
