"""Controls around another control."""

from dataclasses import dataclass
from typing import Any

from metalearn.controls.base import Control
from metalearn.controls.stop import at_least_one
from metalearn.errors import UserError
from metalearn.iteration import Iteration, Stop


@dataclass(kw_only=True)
class Wrapped(Control):
    """What both have in common.

    Args:
        n: cycles.
        control: the other control, {NAME: {its settings}}.
    """

    n: int
    control: dict[str, Any]

    def __post_init__(self) -> None:
        from metalearn.controls import make

        at_least_one(self.n)
        if len(self.control) != 1:
            raise UserError(f"control={self.control}: must be one control, such as {{Patience: {{n: 5}}}}")
        ((name, settings),) = self.control.items()
        self.inner = make(name, settings, f"control.cycle.{type(self).__name__}.control")
        for fact in ("trains", "measures", "reads_loss", "retrains"):
            setattr(self, fact, getattr(self.inner, fact))

    def check(self, run: Iteration, name: str) -> None:
        """As the other would."""
        self.inner.check(run, name)

    def state(self) -> dict[str, Any]:
        """The other's."""
        return self.inner.state()

    def restore(self, state: dict[str, Any]) -> None:
        """The other's."""
        self.inner.restore(state)


@dataclass(kw_only=True)
class WarmUp(Wrapped):
    """Leave out the first n cycles: the other control never hears of them."""

    def apply(self, run: Iteration) -> str | Stop | None:
        """From cycle n + 1 on."""
        return self.inner.apply(run.after(self.n)) if len(run.cycles) > self.n else None

    def tick(self, run: Iteration) -> str | None:
        """From cycle n + 1 on."""
        return self.inner.tick(run.after(self.n)) if len(run.cycles) > self.n else None


@dataclass(kw_only=True)
class Skip(Wrapped):
    """Apply the other control in every n-th cycle alone, and when the run is at its end."""

    def apply(self, run: Iteration) -> str | Stop | None:
        """In cycles n, 2 n, ..., which are all that the other sees."""
        due = len(run.cycles) % self.n == 0 or run.step >= run.model.limit
        return self.inner.apply(run.every(self.n)) if due else None
