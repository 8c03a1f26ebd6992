"""What a control is."""

from typing import Any, ClassVar

from metalearn.errors import UserError
from metalearn.iteration import Iteration, Stop


class Control:
    """One rule with one meaning. Subclasses override `apply`, and seldom more.

    A criterion reads the history of the run alone (`run.losses`, `run.cycles`), and so needs no state of its own. One
    that does count something itself hands it over in `state`, or a resumed run would begin to count anew.
    """

    trains: ClassVar[bool] = False  # calls run.train()
    measures: ClassVar[bool] = False  # calls run.measure()
    reads_loss: ClassVar[bool] = False  # needs another control that measures
    retrains: ClassVar[bool] = False  # is applied in a retraining too, where no classes are left to measure on

    def apply(self, run: Iteration) -> str | Stop | None:
        """Once a cycle: act, or say in words why the iteration should stop; None lets it go on."""
        return None

    def tick(self, run: Iteration) -> str | None:
        """Look in after each iteration of a `Step`, for what must not wait for the cycle's end; keep it cheap."""
        return None

    def check(self, run: Iteration, name: str) -> None:
        """Before any work: raise UserError where this control cannot work in its cycle."""
        earlier = [run.controls[other] for other in list(run.controls)[: list(run.controls).index(name)]]
        if self.reads_loss and not any(control.measures for control in earlier):
            raise UserError(f"control.cycle.{name}: nothing before it measures a loss; add Evaluate before it")

    def state(self) -> dict[str, Any]:
        """What a resumed run must know, as plain values."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
