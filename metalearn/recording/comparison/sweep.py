"""Progress of a sweep: the number of the run, and the time left."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from metalearn.runtime.console import say
from metalearn.runtime.progress import duration

_QUICK = 2.0  # seconds: a shorter run was already complete or failed at once, and is left out of the time estimate


class Sweep:
    """Progress report of a sweep.

    Args:
        overrides: the words of the sweep's command line.
        folder: of the sweep.
        clock: returns the time in seconds.

    Attributes:
        here: numbers of the runs that were started in this process.
    """

    def __init__(self, overrides: Sequence[str], folder: Path, clock: Callable[[], float] = time.monotonic):
        self.total, self.folder, self._clock = count_runs(overrides), folder, clock
        self._shared = set(overrides)  # a word that is not among these is particular to a run
        self.here: set[int] = set()
        self._started = clock()
        self._durations: list[float] = []

    def name(self, number: int) -> str:
        """Name a run by its number from 0, such as `run 3 of 8`."""
        return f"run {number + 1}" + (f" of {self.total}" if self.total else "")

    def own(self, words: Sequence[str]) -> str:
        """Return the words that are particular to a run."""
        return " ".join(word for word in words if word not in self._shared)

    def start(self, number: int, words: Sequence[str]) -> None:
        """Print that a run begins, with the time left if the runs follow each other."""
        self.here.add(number)
        self._started = self._clock()
        left = ""
        if self._durations and self.total:
            mean = sum(self._durations) / len(self._durations)
            left = f" (about {duration(mean * self._remaining(number, self.total))} left for the sweep)"
        say(f"{self.name(number)}: {self.own(words)}{left}")

    def end(self, complete: bool) -> None:
        """Note the duration of the run that was started last."""
        seconds = self._clock() - self._started
        if complete and seconds > _QUICK:
            self._durations.append(seconds)

    def _remaining(self, number: int, total: int) -> int:
        """Count the runs left, this one included. Runs that an earlier attempt completed do not count."""
        return sum(not (self.folder / str(n) / "result.json").exists() for n in range(number, total))


def count_runs(overrides: Sequence[str]) -> int | None:
    """Count the runs of a sweep over these words; None where the count is unknown, as for `interval(0,1)`."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    total = 1
    try:
        for override in OverridesParser.create().parse_overrides(list(overrides)):
            total *= sum(1 for _ in override.sweep_string_iterator()) if override.is_sweep_override() else 1
    except (HydraException, AssertionError, AttributeError, ValueError):
        return None
    return total
