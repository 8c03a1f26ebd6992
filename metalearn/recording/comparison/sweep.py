"""A sweep on its way: which run of how many, how long it will take, and what failed."""

import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from metalearn.recording.comparison.runs import FAILED
from metalearn.runtime.console import say, warn
from metalearn.runtime.files import write_atomically
from metalearn.runtime.progress import duration

_QUICK = 2.0  # seconds: a run that takes less was complete before, or refused, and says nothing of the others

reasons: list[str] = []  # why the run at hand failed, said by metalearn.run


class Sweep:
    """Tell where a sweep is.

    Args:
        overrides: the words of the sweep, lists included.
        folder: of the sweep.
        clock: seconds that only grow.
    """

    def __init__(self, overrides: Sequence[str], folder: Path, clock: Callable[[], float] = time.monotonic):
        self.total, self.folder, self._clock = count_runs(overrides), folder, clock
        self._shared = set(overrides)  # words that all runs have in common, and those with lists
        self._begun = 0
        self._started = clock()
        self._durations: list[float] = []
        self._failed: list[dict[str, Any]] = []

    def start(self, words: Sequence[str]) -> None:
        """Tell that a run begins, and when the sweep will end."""
        self._begun, self._started = self._begun + 1, self._clock()
        reasons.clear()
        of = f" of {self.total}" if self.total else ""
        left = ""
        if self._durations and self.total:
            mean = sum(self._durations) / len(self._durations)
            left = f" (about {duration(mean * self._remaining(self.total))} left for the sweep)"
        say(f"run {self._begun}{of}: {' '.join(word for word in words if word not in self._shared)}{left}")

    def _remaining(self, total: int) -> int:
        """Count the runs to come, this one included; those that an earlier attempt has completed take no time."""
        return sum(not (self.folder / str(n) / "result.json").exists() for n in range(self._begun - 1, total))

    def end(self, run: str, words: Sequence[str], value: Any) -> None:
        """Note how long a run took, and whether it failed."""
        seconds = self._clock() - self._started
        if reasons or not isinstance(value, (int, float)) or math.isnan(value):
            self._failed.append({"run": run, "words": list(words), "why": "; ".join(reasons) or "no score"})
            self._write()  # at once: a sweep that is stopped later still lists it
        elif seconds > _QUICK:
            self._durations.append(seconds)

    def close(self) -> None:
        """Forget the failures of an earlier attempt, where none is left."""
        if not self._failed:
            with suppress(OSError):
                (self.folder / FAILED).unlink(missing_ok=True)

    def _write(self) -> None:
        """Write down the runs that failed, for they have no record of their own."""
        try:
            write_atomically(self.folder / FAILED, (json.dumps(self._failed, indent=2) + "\n").encode())
        except OSError as error:
            warn(f"{self.folder / FAILED}: {error.strerror or error}")


def count_runs(overrides: Sequence[str]) -> int | None:
    """The number of runs of Hydra's own sweep over these words; None where they do not say it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    total = 1
    try:
        for override in OverridesParser.create().parse_overrides(list(overrides)):
            total *= sum(1 for _ in override.sweep_string_iterator()) if override.is_sweep_override() else 1
    except (HydraException, AssertionError, AttributeError, ValueError):
        return None
    return total
