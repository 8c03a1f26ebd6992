"""What a tracker is told; this one does nothing with it (`tracker=none`)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from metalearn.console import warn
from metalearn.errors import UserError


class Identity(NamedTuple):
    """What a tracker knows a run by."""

    name: str  # kept when the run is resumed
    group: str | None  # the sweep that it is one of
    resumed: bool


class Tracker:
    """Listens to a run. Subclasses override what they show."""

    def start(self, config: dict[str, Any], folder: Path, identity: Identity) -> None:
        """The run begins, or goes on: its whole configuration, its folder and its name."""

    def log(self, step: int, row: dict[str, float]) -> None:
        """Values of a meta-step. After a resumption, steps since the last checkpoint may come once more."""

    def finish(self, result: dict[str, Any], pictures: dict[str, Path]) -> None:
        """The run is complete: the content of result.json and the pictures by name."""

    def close(self, complete: bool) -> None:
        """The process ends, with the run complete or not."""


class Shielded(Tracker):
    """Another tracker whose failures never reach the run: said once, and it is told nothing more."""

    def __init__(self, tracker: Tracker):
        self._tracker, self._failed = tracker, False

    def start(self, config: dict[str, Any], folder: Path, identity: Identity) -> None:
        """Only what the user can mend before any work, as a missing package, goes through."""
        self._try(lambda: self._tracker.start(config, folder, identity))

    def log(self, step: int, row: dict[str, float]) -> None:
        """See Tracker."""
        self._try(lambda: self._tracker.log(step, row))

    def finish(self, result: dict[str, Any], pictures: dict[str, Path]) -> None:
        """See Tracker."""
        self._try(lambda: self._tracker.finish(result, pictures))

    def close(self, complete: bool) -> None:
        """See Tracker."""
        self._try(lambda: self._tracker.close(complete))

    def _try(self, call: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            call()
        except UserError:
            raise
        except Exception as error:  # whatever somebody else's service may do
            self._failed = True
            text = " ".join(str(error).split())[:200]
            warn(f"the tracker failed ({type(error).__name__}: {text}) and is left alone; metrics.csv has everything")
