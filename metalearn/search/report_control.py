"""The control that tells a study about each validation score, and pauses a training where the study says so."""

from collections.abc import Callable

from metalearn.controls.loop import Control, ControlLoop, Paused


class Report(Control):
    """Report each measured loss to a study.

    Args:
        report: called with the iteration and the loss; returns why to pause, or None to continue.
    """

    reads_loss = True

    def __init__(self, report: Callable[[int, float], str | None]):
        self._report = report

    def apply(self, run: ControlLoop) -> None:
        """Report the loss of this cycle. A training that has reached its end is not paused.

        Raises:
            Paused: the study wants its resources for another training. The state is saved, to be resumed or not.
        """
        if run.loss is None:
            return
        reason = self._report(run.step, run.loss)
        if reason and run.step < run.model.limit:
            raise Paused(reason)
