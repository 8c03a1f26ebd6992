"""Workers that may vanish: signs of life, and trials that are tried again by another worker.

These are Optuna's heartbeats, which it gives in Study.optimize alone. A storage without heartbeats, such as a journal,
has no lost trials here: the process that started its workers gives those back.
"""

import contextlib
import warnings
from collections.abc import Sequence

from optuna import Study
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.storages._heartbeat import BaseHeartbeat, BaseHeartbeatThread, get_heartbeat_thread, is_heartbeat_enabled
from optuna.trial import FrozenTrial, Trial, TrialState

from metalearn.search.copies import add_again
from metalearn.search.records import LOST, WORKER, counted, is_retried, latest


def enabled(study: Study) -> bool:
    """True if the storage of a study keeps heartbeats."""
    return is_heartbeat_enabled(study._storage)


def ask(study: Study) -> Trial:
    """Take a trial that waits, or a new one, and give a first sign of life."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna expects Study.optimize
        trial = study.ask()
    storage = study._storage
    if enabled(study) and isinstance(storage, BaseHeartbeat):
        storage.record_heartbeat(trial._trial_id)
    return trial


def alive(trial: Trial) -> BaseHeartbeatThread:
    """Return a context that gives signs of life for a trial, from a thread."""
    return get_heartbeat_thread(trial._trial_id, trial.study._storage)


def lose(study: Study, worker: str | None) -> None:
    """Give up the trials of a worker that is known to be dead at once; see `retry_lost`."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if worker is not None and trial.user_attrs.get(WORKER) == worker:
            with contextlib.suppress(UpdateFinishedTrialError):  # another worker has missed its heartbeats
                study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def retries(study: Study, records: Sequence[FrozenTrial], total: int) -> bool:
    """True if a lost trial is to be tried again, one of the first `total` that count."""
    places = set(counted(records)[:total]) if enabled(study) else set()
    return any(is_retried(trial) for n, trial in latest(records).items() if n in places)


def retry_lost(study: Study) -> None:
    """Let the trials of silent workers wait for another worker.

    A trial fails first, so that its worker cannot record anything more, should it be alive after all. It is then added
    again, with its number. A worker that is killed between the two leaves the second to others.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental
        fail_stale_trials(study)
    if enabled(study):
        for trial in filter(is_retried, latest(study.get_trials(deepcopy=False)).values()):
            add_again(study, trial, {LOST: int(trial.user_attrs.get(LOST, 0)) + 1})
