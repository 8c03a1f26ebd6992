"""The contract of trackers, and several trackers as one."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metalearn.runtime.console import warn
from metalearn.runtime.errors import UserError


class TrackerRun(NamedTuple):
    """A run as a tracker identifies it."""

    name: str  # the same after the run is resumed
    group: str | None  # the sweep or the study that the run belongs to
    resumed: bool
    job: str | None = None  # kind of run in a study: trial, confirmation or summary


class StudyReport(NamedTuple):
    """The report of a study."""

    run: TrackerRun  # the run of the tracker that shows the report
    columns: Sequence[str]  # of the table of trials
    rows: Sequence[Sequence[Any]]
    values: Mapping[str, Any]  # the best trial, its score and its settings, and the confirmation
    pictures: Mapping[str, Path]  # files by name


class Tracker:
    """Base class of trackers, which receive what a run measures. By default every method does nothing."""

    def start(self, config: dict[str, Any], folder: Path, run: TrackerRun) -> None:
        """Start or resume a run.

        Args:
            config: the whole configuration.
            folder: of the run.
            run: its name and its sweep.
        """

    def log(self, step: int, row: dict[str, float]) -> None:
        """Receive the values of a meta-step.

        After a run is resumed, steps since the last checkpoint may be repeated.

        Args:
            step: the meta-step.
            row: values by name. Those of layers are in the sections `layers/` and `rates/`.
        """

    def finish(self, result: dict[str, Any], pictures: dict[str, Path]) -> None:
        """Receive the outcome of a complete run.

        Args:
            result: the content of result.json.
            pictures: files by name.
        """

    def close(self, complete: bool) -> None:
        """Release all resources at the end of the process.

        Args:
            complete: True if the run is complete or paused by a study; False if it was interrupted.
        """

    def summarize(self, config: dict[str, Any], folder: Path, report: StudyReport) -> None:
        """Receive the report of a study at its end, in the process that began it. No run is open.

        Args:
            config: the whole configuration, with the default settings.
            folder: of the study.
            report: its table, pictures and best trial.
        """


class SafeTracker(Tracker):
    """Pass all calls to another tracker, and disable it with one warning when it fails.

    Only UserError propagates, such as a missing package.
    """

    def __init__(self, tracker: Tracker, name: str):
        self._tracker, self._name, self._failed = tracker, name, False

    def start(self, config: dict[str, Any], folder: Path, run: TrackerRun) -> None:
        """See Tracker."""
        self._try(lambda: self._tracker.start(config, folder, run))

    def log(self, step: int, row: dict[str, float]) -> None:
        """See Tracker."""
        self._try(lambda: self._tracker.log(step, row))

    def finish(self, result: dict[str, Any], pictures: dict[str, Path]) -> None:
        """See Tracker."""
        self._try(lambda: self._tracker.finish(result, pictures))

    def close(self, complete: bool) -> None:
        """See Tracker."""
        self._try(lambda: self._tracker.close(complete))

    def summarize(self, config: dict[str, Any], folder: Path, report: StudyReport) -> None:
        """See Tracker."""
        self._try(lambda: self._tracker.summarize(config, folder, report))

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
            warn(
                f"the tracker {self._name} failed ({type(error).__name__}: {text}) and is disabled; metrics.csv has "
                "everything"
            )


class Trackers(Tracker):
    """Several trackers as one. The failure of one does not affect the others.

    Args:
        trackers: by name; there may be none.
    """

    def __init__(self, trackers: Mapping[str, Tracker]):
        self._all = [SafeTracker(tracker, name) for name, tracker in trackers.items()]

    def start(self, config: dict[str, Any], folder: Path, run: TrackerRun) -> None:
        """See Tracker."""
        for tracker in self._all:
            tracker.start(config, folder, run)

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

    def summarize(self, config: dict[str, Any], folder: Path, report: StudyReport) -> None:
        """See Tracker."""
        for tracker in self._all:
            tracker.summarize(config, folder, report)


def sectioned(name: str) -> str:
    """Return the name of a value with its section, such as `train/loss` for `train_loss`."""
    part, _, rest = name.partition("_")
    return f"{part}/{rest}" if part in ("train", "val") and rest else name
