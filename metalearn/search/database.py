"""A study in a PostgreSQL database: workers on any number of machines share it.

Optuna's RDBStorage keeps the study and the heartbeats of its workers. Added here is a lock for what only one worker may
do at a time.
"""

import contextlib
import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from optuna import Study
from optuna.exceptions import StorageInternalError
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from metalearn.runtime.console import say
from metalearn.runtime.errors import UserError
from metalearn.runtime.files import write_atomically
from metalearn.search.patient_storage import Patience, PatientStorage, away, first_line

CONFIRMED = "confirmed"  # attribute of a study: the result of its confirmation
_LOCKS = 7_301_202  # number of this program's locks among those of the database
_LOCK_SECONDS = 60  # after which the server takes the lock from a worker that is suspended

# Seconds (milliseconds for the last) after which a machine that has vanished counts as gone, to be changed in the URL
_NETWORK = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 2,
            "tcp_user_timeout": 20_000}  # fmt: skip


class Database:
    """A study in a PostgreSQL database, connected.

    Args:
        url: such as `postgresql://user@host/database`.
        name: of the study.
        heartbeat: seconds between two signs of life of a worker.

    Attributes:
        where: the URL without password and parameters.
        password: True if the user gave one.

    Raises:
        UserError: the database cannot be reached or used.
    """

    def __init__(self, url: str, name: str, heartbeat: int):
        self.name = name
        self.where, address = _address(url)
        self.password = bool(address.password or os.environ.get("PGPASSWORD"))
        os.environ.pop("PGTZ", None)  # it would win over the time zone that all workers must share
        options = _options(address)
        spelled = address.render_as_string(hide_password=False)
        try:
            engine = create_engine(spelled, **options)
            with engine.connect() as connection:
                _lock(connection, "tables")  # workers that start together would all create them
                self.storage = PatientStorage(spelled, heartbeat, options)
            engine.dispose()
        except ImportError as error:
            raise UserError("search.storage needs psycopg; in the clone: pip install '.[database]'") from error
        except (SQLAlchemyError, StorageInternalError, RuntimeError, KeyError, ValueError) as error:
            reason = away(error)
            what = f"cannot be reached: {reason}" if reason else f"cannot be used: {first_line(error)}"
            raise UserError(f"search.storage={self.where}: {what}") from error

    @property
    def patience(self) -> Patience:
        """The patience of all calls."""
        return self.storage.patience

    @property
    def worker(self) -> str:
        """Name of this process among all workers."""
        return worker_name(os.getpid())

    @contextlib.contextmanager
    def exclusive(self, what: str = "trials") -> Iterator[None]:
        """Wait until no other worker of the study is in this context.

        Args:
            what: the purpose; different ones do not wait for each other.
        """
        connection = self.patience.call(lambda _: self._locked(f"{what} of {self.name}"))
        try:
            yield
        finally:
            with contextlib.suppress(SQLAlchemyError):  # the lock has ended with its connection
                connection.close()

    @contextlib.contextmanager
    def alone(self, what: str) -> Iterator[bool]:
        """Give True to one worker of the study, and False to those that enter before it has left, without waiting."""

        def claim(_: bool) -> tuple[Connection, bool]:
            connection = self.storage.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            numbers = _numbers(f"{what} of {self.name}")
            found = connection.execute(text("SELECT pg_try_advisory_lock(:program, :key)"), numbers).scalar()
            return connection, bool(found)

        connection, found = self.patience.call(claim)
        try:
            yield found
        finally:
            with contextlib.suppress(SQLAlchemyError):
                connection.invalidate()  # a connection that returned to the pool would keep the lock
                connection.close()

    def confirm_once(self, record: Study, file: Path, confirm: Callable[[], dict[str, Any]],
                     valid: Callable[[dict[str, Any]], bool]) -> None:  # fmt: skip
        """Confirm a search by one worker; the others show its result if it is there already.

        Args:
            record: the study, in which the result is kept.
            file: with the result on this machine.
            confirm: returns the result, and shows the one in the file.
            valid: returns True for a result of the present best trials.
        """
        with self.alone("confirmation") as mine:
            if (found := record.user_attrs.get(CONFIRMED)) and valid(found):
                write_atomically(file, (json.dumps(found, indent=1) + "\n").encode())
                confirm()
            elif mine:
                record.set_user_attr(CONFIRMED, confirm())
            else:
                say(f"study {self.name}: another worker confirms its best trials")

    def _locked(self, name: str) -> Connection:
        connection = self.storage.engine.connect()
        try:
            _lock(connection, name)
        except BaseException:
            connection.close()
            raise
        return connection


def worker_name(process: int) -> str:
    """Return the name of a worker on this machine among all workers, from its process ID."""
    return f"{socket.gethostname()}:{process}"


def _lock(connection: Connection, name: str) -> None:
    """Take a lock that lasts as long as the transaction of this connection. It ends with its worker, however that ends.

    A worker that is suspended while it holds the lock loses it after a time.
    """
    connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{_LOCK_SECONDS}s'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:program, :key)"), _numbers(name))


def _numbers(name: str) -> dict[str, int]:
    """Return the two numbers by which PostgreSQL knows a lock."""
    digest = hashlib.sha256(name.encode()).digest()
    return {"program": _LOCKS, "key": int.from_bytes(digest[:4], "big", signed=True)}


def _address(url: str) -> tuple[str, URL]:
    """Return a URL without password and parameters, for messages, and the URL with the driver that is used."""
    try:
        address = make_url(url).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError) as error:
        raise UserError("search.storage: not a URL; write postgresql://USER@HOST/DATABASE") from error
    shown = address.set(drivername="postgresql", query={})
    return shown.render_as_string(hide_password=True), address


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
