"""A storage of Optuna that waits while its server is away.

Optuna's heartbeat thread fails at the first refused connection, and then the worker fails. Here every call is repeated.
"""

import contextlib
import functools
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from metalearn.runtime.console import announce
from metalearn.runtime.signals import Stopped

Answer = TypeVar("Answer")

GRACE = 4  # heartbeats that a worker may miss before its trial is given to another
_PAUSE = 1.0  # seconds between two tries while the server is away

# The calls of RDBStorage by which Optuna reads and changes a study; each can be repeated without harm
_CALLS = (
    "create_new_study", "delete_study", "set_study_user_attr", "set_study_system_attr", "get_study_id_from_name",
    "get_study_name_from_id", "get_study_directions", "get_study_user_attrs", "get_study_system_attrs",
    "get_all_studies", "_create_new_trial", "_set_trial_param", "get_trial_id_from_study_id_trial_number",
    "_get_best_trial_id", "set_trial_intermediate_value", "set_trial_user_attr", "set_trial_system_attr", "get_trial",
    "_get_trials",
)  # fmt: skip


class Patience:
    """Repeat calls while a server is away, and say so once. All threads of a process share it.

    Attributes:
        check: called between two tries; raises Stopped after a signal.
        connected: time (monotonic, in seconds) since which the server has answered.
    """

    def __init__(self) -> None:
        self.check: Callable[[], None] = lambda: None
        self.connected = time.monotonic()
        self._mutex = threading.Lock()
        self._said: float | None = None  # time at which the present outage was announced

    def call(self, task: Callable[[bool], Answer]) -> Answer:
        """Return the answer to a call.

        Args:
            task: the call; its argument is True when it is repeated, since its first try may have been carried out
                although the answer was lost.
        """
        tries = 0
        while True:
            try:
                answer = task(tries > 0)
                break
            except (StorageInternalError, SQLAlchemyError) as error:
                if not (reason := away(error)):
                    raise
                tries += 1
                self.connected = time.monotonic()
                if tries > 1:  # the first try may have met a connection that was lost long ago
                    self._announce(reason)
                    self.check()
                    time.sleep(_PAUSE)
        if tries:
            self._returned()
        return answer

    def _announce(self, reason: str) -> None:
        with self._mutex:
            if self._said is None:
                self._said = time.monotonic()
                announce(f"waiting for the database ({reason})")

    def _returned(self) -> None:
        with self._mutex:
            self.connected = time.monotonic()
            if self._said is not None:
                announce(f"the database is back after {time.monotonic() - self._said:.0f} s")
                self._said = None


def away(error: BaseException) -> str | None:
    """Return why the server does not answer, or None for an error of another kind.

    The reason may be one that came before: Optuna tries some queries a second time, on the connection that is lost.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DBAPIError) and (
            cause.connection_invalidated or isinstance(cause, (OperationalError, InterfaceError))
        ):
            return first_line(cause)
        cause = cause.__cause__ or cause.__context__
    return None


class PatientStorage(RDBStorage):
    """Storage of Optuna in a PostgreSQL database, whose calls are repeated while the server is away.

    Args:
        url: of the database.
        heartbeat: seconds between two signs of life of a worker.
        options: of SQLAlchemy's engine.
    """

    def __init__(self, url: str, heartbeat: int, options: dict[str, Any]):
        self.patience = Patience()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # heartbeats are experimental
            super().__init__(url, options, heartbeat_interval=heartbeat, grace_period=GRACE * heartbeat)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Change the state of a trial, such that a repeated call succeeds where the first was carried out."""

        def change(repeated: bool) -> bool:
            try:
                return RDBStorage.set_trial_state_values(self, trial_id, state, values)
            except UpdateFinishedTrialError:
                found = RDBStorage.get_trial(self, trial_id)
                if repeated and found.state == state and found.values == (list(values) if values else None):
                    return True
                raise

        return self.patience.call(change)

    def record_heartbeat(self, trial_id: int) -> None:
        """Record a sign of life, from a thread of its own."""
        with contextlib.suppress(Stopped):  # the main thread meets it too, and ends the search
            self.patience.call(lambda _: RDBStorage.record_heartbeat(self, trial_id))

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """Return the trials whose worker has been silent for too long.

        While the server is away nobody can give a sign of life. Therefore a worker judges others only after it has been
        connected for the time that they have. A worker that was killed before its first heartbeat gets one here, so
        that it is missed too.
        """
        if time.monotonic() - self.patience.connected < (self.grace_period or 0):
            return []
        for trial_id in self.patience.call(lambda _: self._without_heartbeat(study_id)):
            self.record_heartbeat(trial_id)
        return self.patience.call(lambda _: RDBStorage._get_stale_trial_ids(self, study_id))

    def _without_heartbeat(self, study_id: int) -> list[int]:
        query = text(
            "SELECT trials.trial_id FROM trials LEFT JOIN trial_heartbeats USING (trial_id) "
            "WHERE study_id = :study AND state = 'RUNNING' AND trial_heartbeat_id IS NULL"
        )
        with self.engine.connect() as connection:
            return [int(row[0]) for row in connection.execute(query, {"study": study_id})]


def _repeated(name: str) -> Callable[..., Any]:
    """Return a method of RDBStorage that is repeated while the server is away."""

    @functools.wraps(getattr(RDBStorage, name))
    def call(self: PatientStorage, *args: Any, **options: Any) -> Any:
        return self.patience.call(lambda _: getattr(RDBStorage, name)(self, *args, **options))

    return call


for _name in _CALLS:
    setattr(PatientStorage, _name, _repeated(_name))


def first_line(error: BaseException) -> str:
    """Return the first line of a message; of SQLAlchemy's errors, that of the driver."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = str(cause).strip().splitlines()
    return lines[0].strip() if lines else type(cause).__name__
