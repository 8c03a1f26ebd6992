"""Progress of a sweep: the number of the run, the time left, and failed runs."""

import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from metalearn.runtime.console import say, warn
from metalearn.runtime.files import write_atomically
from metalearn.runtime.progress import duration

FAILED = "failed.json"  # in a sweep's folder: the runs that ended before they had a record

_QUICK = 2.0  # seconds: a shorter run was already complete or failed at once, and is left out of the time estimate

reasons: list[str] = []  # error messages of the current run, appended by metalearn.run


class Sweep:
    """Progress report of a sweep, with a record of its failed runs.

    Args:
        overrides: the words of the sweep's command line.
        folder: of the sweep.
        clock: returns the time in seconds.
    """

    def __init__(self, overrides: Sequence[str], folder: Path, clock: Callable[[], float] = time.monotonic):
        self.total, self.folder, self._clock = count_runs(overrides), folder, clock
        self._shared = set(overrides)  # a word that is not among these is particular to a run
        self._begun = 0
        self._started = clock()
        self._durations: list[float] = []
        self._failed: list[dict[str, Any]] = []

    def start(self, words: Sequence[str]) -> None:
        """Print that a run begins, with the time left for the sweep."""
        self._begun, self._started = self._begun + 1, self._clock()
        reasons.clear()
        of = f" of {self.total}" if self.total else ""
        left = ""
        if self._durations and self.total:
            mean = sum(self._durations) / len(self._durations)
            left = f" (about {duration(mean * self._remaining(self.total))} left for the sweep)"
        say(f"run {self._begun}{of}: {' '.join(word for word in words if word not in self._shared)}{left}")

    def _remaining(self, total: int) -> int:
        """Count the runs left, this one included. Runs that an earlier attempt completed do not count."""
        return sum(not (self.folder / str(n) / "result.json").exists() for n in range(self._begun - 1, total))

    def end(self, run: str, words: Sequence[str], value: Any) -> None:
        """Record the duration of a run, or its failure."""
        seconds = self._clock() - self._started
        if reasons or not isinstance(value, (int, float)) or math.isnan(value):
            self._failed.append({"run": run, "words": list(words), "why": "; ".join(reasons) or "no score"})
            self._write()  # now, in case the sweep is stopped later
        elif seconds > _QUICK:
            self._durations.append(seconds)

    def close(self) -> None:
        """Delete the failures of an earlier attempt if no run has failed now."""
        if not self._failed:
            with suppress(OSError):
                (self.folder / FAILED).unlink(missing_ok=True)

    def _write(self) -> None:
        """Write failed.json, since a failed run may have no folder."""
        try:
            write_atomically(self.folder / FAILED, (json.dumps(self._failed, indent=2) + "\n").encode())
        except OSError as error:
            warn(f"{self.folder / FAILED}: {error.strerror or error}")


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
