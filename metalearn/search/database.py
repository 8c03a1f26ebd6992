"""A study in a PostgreSQL database: workers on any number of machines share it.

Optuna's RDBStorage keeps the study and the heartbeats of its workers. Added here is a lock for what only one worker may
do at a time.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from optuna.exceptions import StorageInternalError
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from metalearn.errors import UserError
from metalearn.search.patient_storage import Patience, PatientStorage, away, first_line

_LOCKS = 7_301_202  # number of this program's locks among those of the database
_LOCK_SECONDS = 60  # after which the server takes the lock from a worker that is suspended

# Seconds (milliseconds for the last) after which a machine that has vanished counts as gone, to be changed in the URL
_NETWORK = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 2,
            "tcp_user_timeout": 20_000}  # fmt: skip


class Database:
    """A PostgreSQL server, connected.

    Args:
        url: such as `postgresql://user@host/database`.
        heartbeat: seconds between two signs of life of a worker.

    Raises:
        UserError: it cannot be reached or used.
    """

    def __init__(self, url: str, heartbeat: int):
        self.where, address = _address(url)
        options = _options(address)
        spelled = address.render_as_string(hide_password=False)
        try:
            engine = create_engine(spelled, **options)
            with engine.connect() as connection:
                _lock(connection, "tables")  # workers that start together would both create them
                self.storage = PatientStorage(spelled, heartbeat, options)
            engine.dispose()
        except ImportError as error:
            raise UserError(
                f"search.storage needs psycopg: pip install 'metalearn-torch[database]' ({error})"
            ) from error
        except (SQLAlchemyError, StorageInternalError, RuntimeError, KeyError, ValueError) as error:
            reason = away(error)
            what = f"cannot be reached: {reason}" if reason else f"cannot be used: {first_line(error)}"
            raise UserError(f"search.storage={self.where}: {what}") from error

    @property
    def patience(self) -> Patience:
        """The patience of all calls."""
        return self.storage.patience

    def exclusive(self, name: str) -> Callable[[], AbstractContextManager[None]]:
        """Return a context that one worker enters at a time, among all that use this name."""

        @contextlib.contextmanager
        def context() -> Iterator[None]:
            connection = self.patience.call(lambda _: self._locked(name))
            try:
                yield
            finally:
                with contextlib.suppress(SQLAlchemyError):  # the lock ended with its connection
                    connection.close()

        return context

    def _locked(self, name: str) -> Connection:
        connection = self.storage.engine.connect()
        try:
            _lock(connection, name)
        except BaseException:
            connection.close()
            raise
        return connection


def _lock(connection: Connection, name: str) -> None:
    """Take a lock that lasts as long as the transaction of this connection. It ends with its worker, however that ends.

    A worker that is suspended while it holds the lock loses it after a time.
    """
    digest = hashlib.sha256(name.encode()).digest()
    key = int.from_bytes(digest[:4], "big", signed=True)
    connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{_LOCK_SECONDS}s'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:program, :key)"), {"program": _LOCKS, "key": key})


def _address(url: str) -> tuple[str, URL]:
    """Return a URL without its password, for messages, and the URL with the driver that is used."""
    try:
        address = make_url(url).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError) as error:
        raise UserError("search.storage: not a URL; write postgresql://USER@HOST/DATABASE") from error
    return address.set(drivername="postgresql").render_as_string(hide_password=True), address


def _options(address: URL) -> dict[str, Any]:
    """Return the options of SQLAlchemy's engine: few connections a worker, each tested before it is used.

    Heartbeats are kept without a time zone, so that all workers must use one.
    """
    given = str(address.query.get("options", ""))
    connect = {name: value for name, value in _NETWORK.items() if name not in address.query}
    return {
        "pool_size": 1,
        "max_overflow": 4,
        "pool_pre_ping": True,
        "connect_args": {**connect, "options": f"{given} -c timezone=UTC".strip()},
    }
