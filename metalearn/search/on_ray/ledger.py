"""The study of a search whose trials are trained by Ray: it hands them out, and records what becomes of them."""

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optuna.trial import Trial, TrialState

from metalearn.runtime.console import warn
from metalearn.runtime.errors import UserError
from metalearn.search.on_ray import saved
from metalearn.search.on_ray.messages import Order, Progress
from metalearn.search.records import MESSAGE, NUMBER, SCHEDULE, SECONDS, TRACE, WORKER, failure
from metalearn.search.study import Study

LOST = "its processes were lost"  # why a trial has failed that Ray has given up


@dataclass
class Entry:
    """A trial that is not finished.

    Args:
        record: of the study.
        order: as it was handed out.
        seconds: spent on it so far.
        last: its progress; None before the first validation.
    """

    record: Trial
    order: Order
    seconds: float = 0.0
    last: Progress | None = None


@dataclass
class Ledger:
    """The trials of a study that Ray trains.

    Args:
        study: that keeps the records.
        folder: of the study, to which the run folders of ended trials are copied.
        sessions: folder of Ray's experiments, with the checkpoints of earlier ones.
        make: returns the order of a trial by its number, its settings and their words of the command line.
        ended: called after each trial.
    """

    study: Study
    folder: Path
    sessions: Path
    make: Callable[[int, Mapping[str, Any], list[str]], Order]
    ended: Callable[[], None] = lambda: None
    open: dict[int, Entry] = field(default_factory=dict)

    def next(self, wanted: Callable[[], bool] = lambda: True) -> Order | None:
        """Take the next trial of the study; None if there is none.

        One whose settings are refused is recorded as failed, and the next is taken.

        Args:
            wanted: returns False when no further trial is to be taken.
        """
        while wanted() and (record := self.study.claim()) is not None:
            number = int(record.user_attrs[NUMBER])
            candidate = self.study.candidate(record)
            settings, words = dict(candidate.values), list(candidate.overrides)
            try:
                found = saved.newest(self.sessions, number)
                if found and found.schedule:
                    settings = dict(found.schedule[-1][1])  # a member of a population may have others now
                    words = self.study.space.overrides(settings)
                order = self.make(number, settings, words)
            except Exception as error:
                self.study.end(record, TrialState.FAIL, None, failure(error), 0.0)
                self.ended()
                continue
            if found:
                order = replace(order, start=str(found.folder), begin=found.measured)
            self.open[number] = Entry(record, order, float(record.user_attrs.get(SECONDS, 0.0)))
            return order
        return None

    def changed(self, number: int, settings: Mapping[str, Any]) -> Order:
        """Return the order of an open trial with other settings."""
        entry = self.open[number]
        entry.order = self.make(number, settings, self.study.space.overrides(settings))
        return entry.order

    def progress(self, number: int, progress: Progress, worker: str) -> None:
        """Record the validation scores of a trial."""
        entry = self.open[number]
        for step, loss in progress.losses if len(self.study.goals) == 1 else ():
            self.study.report(entry.record, step, loss)
        entry.seconds += progress.seconds
        entry.last = progress
        if entry.record.user_attrs.get(WORKER) != worker:
            entry.record.set_user_attr(WORKER, worker)
        if self.study.population and progress.schedule:
            before, now = entry.record.user_attrs.get(TRACE, []), list(progress.schedule[-1])
            if not before or before[-1] != now:
                entry.record.set_user_attr(TRACE, [*before, now])

    def end(self, number: int, checkpoint: Path | None, lost: str | None = None) -> None:
        """Record the end of a trial, and copy its run folder.

        Args:
            checkpoint: its last one.
            lost: why it was given up; None if it has ended by itself.
        """
        entry = self.open.pop(number, None)
        if entry is None:
            return
        state, values, message = self._outcome(entry, lost)
        if entry.last and self.study.population:
            entry.record.set_user_attr(SCHEDULE, [list(part) for part in entry.last.schedule])
        if checkpoint is not None:
            self._copy(checkpoint, number)
        self.study.end(entry.record, state, values, message, entry.seconds)
        self.ended()

    def leave(self) -> None:
        """Leave the open trials waiting in the study."""
        for entry in self.open.values():
            entry.record.set_user_attr(SECONDS, entry.seconds)
        self.open.clear()
        self.study.recover()

    def _outcome(self, entry: Entry, lost: str | None) -> tuple[TrialState, list[float] | None, str | None]:
        """Return the state, the scores and the message of a trial that has ended."""
        last = entry.last
        if lost:
            return TrialState.FAIL, None, lost
        if last is None:
            return TrialState.FAIL, None, entry.record.user_attrs.get(MESSAGE) or "it ended before a validation"
        if last.failure is not None:
            return TrialState.FAIL, None, last.failure
        if last.results is None:
            return TrialState.PRUNED, None, None
        try:
            values = [_number(name, last.results.get(name)) for name in entry.order.goals]
        except UserError as error:
            return TrialState.FAIL, None, str(error)
        return TrialState.COMPLETE, values, None

    def _copy(self, checkpoint: Path, number: int) -> None:
        place = self.folder / str(number)
        try:
            saved.load(checkpoint, place)
            if (place / saved.LOG).exists():
                (self.folder / "logs").mkdir(exist_ok=True)
                shutil.move(place / saved.LOG, self.folder / "logs" / f"{number}.txt")
        except (OSError, ValueError) as error:
            warn(f"trial {number}: its run folder is not copied ({error})")


def _number(name: str, value: Any) -> float:
    """Return an entry of result.json as a score.

    Raises:
        UserError: there is no such entry, or no finite number in it.
    """
    if value is None:
        raise UserError(f"search.objectives: {name}: result.json has no such entry")
    if not math.isfinite(value):
        raise UserError("its score is no finite number")
    return float(value)
