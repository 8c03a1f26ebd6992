"""The searcher and the callback that connect Ray Tune to a study: one asks for trials, one records their progress."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.search import Searcher

from metalearn.runtime.console import say
from metalearn.runtime.signals import NAMES, Signals, Stopped
from metalearn.search.on_ray.ledger import LOST, Ledger
from metalearn.search.on_ray.messages import SCORE, Order, Progress

_NUMBERS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
_PATIENCE = 120.0  # seconds that a stopped search waits for its trials to be saved


class Asking(Searcher):
    """A searcher of Ray that asks the study.

    Args:
        next_order: returns the next trial, or None when there will be none.
    """

    def __init__(self, next_order: Callable[[], Order | None], maximize: bool):
        super().__init__(metric=SCORE, mode="max" if maximize else "min")
        self._next = next_order

    def suggest(self, trial_id: str) -> Any:
        """Return the configuration of the next trial."""
        order = self._next()
        return Searcher.FINISHED if order is None else order.spell()

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Do nothing: the study is told by `Listening`."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study is its own record."""


class Listening(Callback):
    """Record what Ray reports, and stop Ray after a signal, when the running trials are saved.

    Args:
        ledger: that records.
        signals: of this process.
        stop: a file that tells the trials to stop.
    """

    def __init__(self, ledger: Ledger, signals: Signals, stop: Path):
        self._ledger, self._signals, self._stop = ledger, signals, stop
        self._handlers = [(number, signal.getsignal(number)) for number in _NUMBERS]
        self._since: float | None = None
        self._halted: set[Any] = set()  # trials that have stopped between two validations
        self._saved: set[Any] = set()

    @property
    def stopping(self) -> bool:
        """True after a signal."""
        return self._since is not None

    def setup(self, *args: Any, **info: Any) -> None:
        """Restore this process's signal handlers, which Ray has replaced."""
        for number, handler in self._handlers:
            signal.signal(number, handler)

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look for a signal.

        Raises:
            Stopped: there was one, and the running trials are saved.
        """
        try:
            self._signals.check()
        except Stopped:
            if not self.stopping:
                self._stop.touch()
                self._since = time.monotonic()
            running = [trial for trial in trials if trial.status == "RUNNING" and trial not in self._saved]
            if not running or time.monotonic() - (self._since or 0.0) > _PATIENCE:
                raise

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any],
                        **info: Any) -> None:  # fmt: skip
        """Record the progress of a trial."""
        progress = Progress.read(result)
        self._ledger.progress(progress.number, progress, f"{result['node_ip']}:{result['pid']}")
        if progress.stopped:
            self._halted.add(trial)

    def on_trial_save(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note that a trial is saved which has stopped."""
        if trial in self._halted:
            self._saved.add(trial)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say that a trial has lost its process."""
        say(f"trial {Order.read(trial.config).number}: its process was lost; it continues from its last checkpoint")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record the end of a trial."""
        self._end(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record that the processes of a trial were lost too often."""
        self._end(trial, _why(trial))

    def _end(self, trial: Any, lost: str | None = None) -> None:
        checkpoint = trial.checkpoint
        number = Order.read(trial.config).number
        self._ledger.end(number, Path(checkpoint.path) if checkpoint else None, lost)


def _why(trial: Any) -> str:
    """Return why Ray has given a trial up: the last line of its error."""
    try:
        lines = Path(trial.error_file).read_text().strip().splitlines()
    except (OSError, TypeError):
        lines = []
    died = any("died unexpectedly" in line for line in lines)
    return LOST if died or not lines else f"{LOST}: {lines[-1].strip()}"
