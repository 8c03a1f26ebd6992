"""Facts that a study keeps with its trials, and how trials are counted.

A trial that is promoted or retried has several records in the study, since Optuna cannot reopen a finished one. They
share the number of the first, their origin.
"""

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

ORIGIN = "origin"  # of a promotion or a retry: the number of the first record of the trial
NUMBER = "number"  # of a trial in its study, from 0: what users see
WITHDRAWN = "withdrawn"  # asked for by one worker while another took the last place
BRACKET = "bracket"  # of competing models
RUNG = "rung"  # the rung that this record trains to
MESSAGE = "message"  # why a trial failed
SECONDS = "seconds"  # duration of a record
WORKER = "worker"  # that runs it
SPEC = "spec"  # of a study: what it searches, and how


def origin(trial: FrozenTrial) -> int:
    """Return the number of the first record of a trial."""
    return int(trial.user_attrs.get(ORIGIN, trial.number))


def number(trial: FrozenTrial) -> int:
    """Return the number of a trial as users see it."""
    return int(trial.user_attrs.get(NUMBER, origin(trial)))


def latest(trials: Sequence[FrozenTrial]) -> dict[int, FrozenTrial]:
    """Return the last record of each trial by its origin, without withdrawn ones."""
    found: dict[int, FrozenTrial] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if WITHDRAWN not in trial.user_attrs:
            found[origin(trial)] = trial
    return dict(sorted(found.items()))


def counted(trials: Sequence[FrozenTrial]) -> list[int]:
    """Return the origins of the trials that count: all that have not failed. Running ones are reserved."""
    return [first for first, trial in latest(trials).items() if trial.state != TrialState.FAIL]
