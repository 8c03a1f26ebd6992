"""The contract of trackers, and several of them as one."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from metalearn.errors import UserError
from metalearn.runtime.console import warn


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
        """Values of a meta-step, by name; each layer's are in the sections `layers/` and `rates/`.

        After a resumption, steps since the last checkpoint may come once more.
        """

    def finish(self, result: dict[str, Any], pictures: dict[str, Path]) -> None:
        """The run is complete: the content of result.json and the pictures by name."""

    def close(self, complete: bool) -> None:
        """The process ends, with the run complete or not."""


class Shielded(Tracker):
    """Another tracker whose failures never reach the run: a failure is reported once, and the tracker is disabled."""

    def __init__(self, tracker: Tracker, name: str):
        self._tracker, self._name, self._failed = tracker, name, False

    def start(self, config: dict[str, Any], folder: Path, identity: Identity) -> None:
        """See Tracker. Only UserError propagates, such as a missing package."""
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
        except Exception as error:  # any failure of an external service
            self._failed = True
            text = " ".join(str(error).split())[:200]
            warn(f"the tracker {self._name} failed ({type(error).__name__}: {text}) and is disabled; metrics.csv has "
                 "everything")  # fmt: skip


class Trackers(Tracker):
    """Several trackers, each on its own: the failure of one does not reach the others.

    Args:
        trackers: by name.
    """

    def __init__(self, trackers: Mapping[str, Tracker]):
        self._all = [Shielded(tracker, name) for name, tracker in trackers.items()]

    def start(self, config: dict[str, Any], folder: Path, identity: Identity) -> None:
        """See Tracker."""
        for tracker in self._all:
            tracker.start(config, folder, identity)

    def log(self, step: int, row: dict[str, float]) -> None:
        """See Tracker."""
        for tracker in self._all:
            tracker.log(step, row)

    def finish(self, result: dict[str, Any], pictures: dict[str, Path]) -> None:
        """See Tracker."""
        for tracker in self._all:
            tracker.finish(result, pictures)

    def close(self, complete: bool) -> None:
        """See Tracker."""
        for tracker in self._all:
            tracker.close(complete)


def sectioned(name: str) -> str:
    """The name of a value with its section, such as `train/loss` for `train_loss`."""
    part, _, rest = name.partition("_")
    return f"{part}/{rest}" if part in ("train", "val") and rest else name
