"""Facts that a study keeps with its trials, and how trials are counted.

A trial that is promoted or retried has several records in the study, since Optuna cannot reopen a finished one. They
share the number of the first, their origin.
"""

import traceback
from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from metalearn.runtime.errors import UserError

ORIGIN = "origin"  # of a promotion or a retry: the number of the first record of the trial
NUMBER = "number"  # of a trial in its study, from 0: what users see
WITHDRAWN = "withdrawn"  # asked for by one worker while another took the last place
BRACKET = "bracket"  # of competing models
RUNG = "rung"  # the rung that this record trains to
MESSAGE = "message"  # why a trial failed
SECONDS = "seconds"  # duration of a record
WORKER = "worker"  # that runs it
NOBODY = ""  # the worker of a trial that was given back
FOLDER = "folder"  # of its run, on the machine of the worker
LOST = "lost"  # number of workers that were lost while they ran it
SCHEDULE = "schedule"  # population-based training: the settings that led to its weights, each with its first meta-step
TRACE = "trace"  # the same, but of all that it was trained with, also before it took over another
SPEC = "spec"  # of a study: what it searches, and how
IDENTITY = "identity"  # of a study in a database, made up when it is created

RETRIES = 2  # of a trial whose workers are lost: it may be what kills them


def origin(trial: FrozenTrial) -> int:
    """Return the number of the first record of a trial."""
    return int(trial.user_attrs.get(ORIGIN, trial.number))


def number(trial: FrozenTrial) -> int:
    """Return the number of a trial as users see it."""
    return int(trial.user_attrs.get(NUMBER, origin(trial)))


def schedule(trial: FrozenTrial) -> list[tuple[int, dict[str, Any]]]:
    """Return the settings that led to the weights of a trial, by the meta-step from which they held."""
    return [(int(step), dict(settings)) for step, settings in trial.user_attrs.get(SCHEDULE, [(0, trial.params)])]


def settings(trial: FrozenTrial) -> dict[str, Any]:
    """Return the settings of a trial by name; of a member of a population, the last ones."""
    return schedule(trial)[-1][1]


def message(trial: FrozenTrial) -> str:
    """Return why a trial failed."""
    if trial.state != TrialState.FAIL:
        return ""
    lost = int(trial.user_attrs.get(LOST, 0)) + 1
    return str(trial.user_attrs.get(MESSAGE) or f"its worker was lost{f', {lost} times' if lost > 1 else ''}")


def failure(error: Exception) -> str:
    """Return why a trial failed: the message of a UserError, else the error with its place."""
    if isinstance(error, UserError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]  # the user's own code, or what no check foresaw
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({place.filename}:{place.lineno})"


def latest(trials: Sequence[FrozenTrial]) -> dict[int, FrozenTrial]:
    """Return the last record of each trial by its origin, without withdrawn ones."""
    found: dict[int, FrozenTrial] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if WITHDRAWN not in trial.user_attrs:
            found[origin(trial)] = trial
    return dict(sorted(found.items()))


def counted(trials: Sequence[FrozenTrial]) -> list[int]:
    """Return the origins of the trials that count: all that have not failed. Running ones are reserved."""
    return [n for n, trial in latest(trials).items() if trial.state != TrialState.FAIL or is_retried(trial)]


def is_retried(trial: FrozenTrial) -> bool:
    """True if a trial failed because its worker was lost, so that it is to be tried again.

    Such a trial has no message, unlike all others that failed.
    """
    lost = trial.state == TrialState.FAIL and not {MESSAGE, WITHDRAWN} & trial.user_attrs.keys()
    return lost and int(trial.user_attrs.get(LOST, 0)) < RETRIES
