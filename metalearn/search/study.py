"""A study: ask for configurations, train them, and keep every result."""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from metalearn.controls.loop import Paused
from metalearn.runtime.console import say
from metalearn.runtime.errors import Unfinished, UserError
from metalearn.runtime.signals import Stopped
from metalearn.search import heartbeats
from metalearn.search.candidate import Candidate, Evaluator
from metalearn.search.competition import BUSY, Competition
from metalearn.search.copies import add_again, is_duplicate
from metalearn.search.records import (
    BRACKET,
    FOLDER,
    MESSAGE,
    NOBODY,
    NUMBER,
    ORIGIN,
    RUNG,
    SECONDS,
    WITHDRAWN,
    WORKER,
    counted,
    failure,
    is_retried,
    latest,
)  # fmt: skip
from metalearn.search.report_control import Report
from metalearn.search.settings import Goal
from metalearn.search.space import Space

OWN = "search"  # name of the study's control in the loop of a trial


@dataclass(kw_only=True)
class Study:
    """A study of trials, kept by Optuna.

    Args:
        record: Optuna's study with its storage, sampler and pruner.
        space: what is searched.
        goals: the objectives.
        trials: configurations in total, over all workers and sessions.
        available: configurations that exist, for a grid: failed ones are then not replaced.
        competition: brackets of competing models; None: every trial trains to its end, or is pruned.
        exclusive: a context that only one worker enters at a time.
        worker: name of this process.
        folder: of the study, recorded with its trials.
        population: its trials change their settings in mid-training.
    """

    record: optuna.Study
    space: Space
    goals: Sequence[Goal]
    trials: int
    available: int | None = None
    competition: Competition | None = None
    exclusive: Callable[[], AbstractContextManager[None]] = nullcontext
    worker: str = "0"
    folder: Path | None = None
    population: bool = False

    def records(self) -> list[FrozenTrial]:
        """Return all records, read anew from the storage."""
        return self.record.get_trials(deepcopy=False)

    def latest(self) -> dict[int, FrozenTrial]:
        """Return the last record of each trial by its origin."""
        return latest(self.records())

    def finished(self) -> list[FrozenTrial]:
        """Return the finished records in the order in which they were begun."""
        return [t for t in self.records() if t.state.is_finished() and WITHDRAWN not in t.user_attrs]

    def failed(self) -> list[FrozenTrial]:
        """Return the failed trials."""
        return [t for t in self.latest().values() if t.state == TrialState.FAIL and not is_retried(t)]

    def more(self) -> bool:
        """True if a trial can be begun, resumed or promoted now, or other workers may still leave one."""
        records = self.records()
        if self.busy(records) or not self._full(records):
            return True
        return bool(self.competition and self.competition.promotions(latest(records), complete=True))

    def busy(self, records: Sequence[FrozenTrial] | None = None) -> bool:
        """True if a trial is running or waiting, or was lost with its worker and is to be tried again."""
        records = self.records() if records is None else records
        return heartbeats.retries(self.record, records, self.trials) or any(t.state in BUSY for t in records)

    def recover(self, worker: str | None = None) -> None:
        """Give back the trials of a worker that was killed; with None, of all workers, none of which may be alive.

        A storage with heartbeats gives back those of other machines by itself.
        """
        if heartbeats.enabled(self.record):
            heartbeats.lose(self.record, worker)
            return
        with self.exclusive():  # no other worker is between asking for a trial and leaving its name
            for trial in self.records():
                theirs = worker is None or trial.user_attrs.get(WORKER, NOBODY) in (worker, NOBODY)
                if trial.state == TrialState.RUNNING and theirs:
                    self._release(trial._trial_id)

    def run_next(self, evaluate: Evaluator, new: bool = True) -> bool:
        """Train one configuration and record what came of it; return False if there is none at the moment.

        A configuration whose training fails is recorded with its message. Nothing is recorded of a trial that was
        given to another worker meanwhile, since this one was silent for too long.

        Args:
            evaluate: trains it.
            new: False to train only one that was begun before.

        Raises:
            Unfinished, Stopped: a signal or the machine ended the training, which is left waiting in the study.
        """
        trial = self.claim(new)
        if trial is None:
            return False
        try:
            self._run(trial, evaluate)
            return True
        except UpdateFinishedTrialError:
            say(f"trial {trial.user_attrs[NUMBER]}: given to another worker, since this one was silent; dropped")
            return False

    def _run(self, trial: Trial, evaluate: Evaluator) -> None:
        began = time.monotonic()
        spent = float(trial.user_attrs.get(SECONDS, 0.0))

        def end(state: TrialState, values: Sequence[float] | None = None, message: str | None = None) -> None:
            self.end(trial, state, values, message, spent + time.monotonic() - began)

        candidate = self.candidate(trial)  # a sampler that fails is a defect, not a failed trial
        try:
            with heartbeats.alive(trial):
                values = evaluate(candidate)
            if not all(math.isfinite(value) for value in values):
                raise UserError("its score is no finite number")
            end(TrialState.COMPLETE, values)
        except Paused:
            end(TrialState.PRUNED)
        except (Stopped, Unfinished, KeyboardInterrupt, OSError):
            with contextlib.suppress(UpdateFinishedTrialError):
                trial.set_user_attr(SECONDS, spent + time.monotonic() - began)
                with nullcontext() if heartbeats.enabled(self.record) else self.exclusive():
                    self._release(trial._trial_id)
            raise
        except UpdateFinishedTrialError:
            raise
        except Exception as error:
            end(TrialState.FAIL, message=failure(error))

    def end(self, trial: Trial, state: TrialState, values: Sequence[float] | None, message: str | None,
            seconds: float) -> None:  # fmt: skip
        """Record the end of a trial.

        Args:
            values: its scores, one for each objective; None where it was not trained to its end.
            message: why it failed.
            seconds: its duration.

        Raises:
            UpdateFinishedTrialError: it was given to another worker.
        """
        trial.set_user_attr(SECONDS, seconds)
        if message is not None:
            trial.set_user_attr(MESSAGE, message)
        if self.record.tell(trial, values, state, skip_if_finished=True).state != state:
            raise UpdateFinishedTrialError

    def candidate(self, trial: Trial) -> Candidate:
        """Return the configuration of a trial, with the control that reports its scores."""
        overrides = self.space.suggest(trial)
        number = int(trial.user_attrs[NUMBER])
        controls = {OWN: Report(lambda step, loss: self.report(trial, step, loss))} if len(self.goals) == 1 else {}
        return Candidate(number, dict(trial.params), overrides, controls)

    def report(self, trial: Trial, step: int, loss: float) -> str | None:
        """Record a validation score; return why the training is to pause, or None."""
        frozen = self.record._storage.get_trial(trial._trial_id)
        if frozen.state.is_finished():
            return "given to another worker"
        if math.isfinite(loss) and step not in frozen.intermediate_values:
            trial.report(self.goals[0].score(loss), step)
        if self.competition:
            return "paused at a rung" if step >= self.competition.target(frozen) else None
        return "pruned" if trial.should_prune() else None

    def claim(self, new: bool = True) -> Trial | None:
        """Take the next trial: one that waits, a promotion, or a new one."""
        with self.exclusive():
            heartbeats.retry_lost(self.record)
            records = self.records()
            full = self._full(records) or not new
            if not any(trial.state == TrialState.WAITING for trial in records):
                promoted = self.competition.promotions(latest(records), full) if self.competition else []
                for paused in (latest(records)[number] for number in promoted):
                    add_again(self.record, paused, {RUNG: int(paused.user_attrs.get(RUNG, 0)) + 1})
                if full and not promoted:
                    return None
            trial = heartbeats.ask(self.record)
            trial.set_user_attr(WORKER, self.worker)
            if NUMBER not in trial.user_attrs:
                first = int(trial.user_attrs.get(ORIGIN, trial.number))
                before = [t for t in self.records() if t.number < first and ORIGIN not in t.user_attrs]
                trial.set_user_attr(NUMBER, len(before))
            if self.competition and BRACKET not in trial.user_attrs:
                trial.set_user_attr(BRACKET, self.competition.place(latest(self.records())))
            if self.folder:
                trial.set_user_attr(FOLDER, str(self.folder / str(trial.user_attrs[NUMBER])))
        if self._surplus(trial):
            trial.set_user_attr(WITHDRAWN, True)
            self.record.tell(trial, state=TrialState.FAIL)
            return None
        return trial

    def _surplus(self, trial: Trial) -> bool:
        """True if another worker took the last place, or the same trial, while this one asked."""
        records = self.records()
        beyond = self.available is not None and int(trial.user_attrs[NUMBER]) >= self.available
        first = int(trial.user_attrs.get(ORIGIN, trial.number))
        return beyond or first not in counted(records)[: self.trials] or is_duplicate(trial, records)

    def _full(self, records: Sequence[FrozenTrial]) -> bool:
        """True if no further trial may be begun."""
        begun = len(latest(records))
        return len(counted(records)) >= self.trials or (self.available is not None and begun >= self.available)

    def _release(self, trial_id: int) -> None:
        """Leave a trial waiting in the study."""
        self.record._storage.set_trial_user_attr(trial_id, WORKER, NOBODY)
        self.record._storage.set_trial_state_values(trial_id, TrialState.WAITING)
