"""Calls to a database are repeated while it is away; a database that was never there is refused."""

import inspect
import re
import socket
import time

import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages._cached_storage import _CachedStorage
from sqlalchemy.exc import IntegrityError, OperationalError, PendingRollbackError

from metalearn.runtime import console
from metalearn.runtime.errors import UserError
from metalearn.runtime.signals import Stopped
from metalearn.search import patient_storage
from metalearn.search.database import Database
from metalearn.search.patient_storage import Patience, PatientStorage, away

REFUSED = "connection refused"


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(patient_storage, "announce", lines.append)
    monkeypatch.setattr(patient_storage, "_PAUSE", 0)
    return lines


def failing(times: int, error: Exception):
    """Return a call that fails at first, and the list of what it was told."""
    told = []

    def call(repeated: bool) -> str:
        told.append(repeated)
        if len(told) <= times:
            raise error
        return "answer"

    return call, told


def refused() -> OperationalError:
    return OperationalError("SELECT 1", {}, Exception(f"{REFUSED}\n\tIs the server running?"))


def test_a_call_is_repeated_and_the_wait_is_said_once(said):
    patience = Patience()
    before = patience.connected
    call, told = failing(5, refused())
    assert patience.call(call) == "answer"
    assert told == [False, True, True, True, True, True]
    assert said[0] == f"waiting for the database ({REFUSED})"
    assert len(said) == 2 and said[1].startswith("the database is back after")
    assert patience.connected > before
    patience.call(failing(3, refused())[0])
    assert len(said) == 4, "another outage is said again"


def test_a_connection_lost_long_ago_is_not_worth_a_line(said):
    Patience().call(failing(1, refused())[0])
    assert said == []


def test_another_error_is_raised(said):
    error = StorageInternalError("too long")
    error.__cause__ = IntegrityError("INSERT", {}, Exception("duplicate key"))
    call, told = failing(1, error)
    with pytest.raises(StorageInternalError):
        Patience().call(call)
    assert told == [False] and said == []


def test_a_lost_connection_is_found_behind_the_error_that_follows_it():
    """Optuna tries some queries again on the same connection, which hides the reason."""
    try:
        try:
            raise refused()
        except OperationalError:
            raise PendingRollbackError("Can't reconnect until invalid transaction is rolled back") from None
    except PendingRollbackError as second:
        error = StorageInternalError("commit")
        error.__cause__ = second
    assert away(error) == REFUSED


def test_a_signal_ends_the_wait(said):
    patience = Patience()

    def check() -> None:
        raise Stopped(15)

    patience.check = check
    with pytest.raises(Stopped):
        patience.call(failing(9, refused())[0])


def test_every_call_of_optuna_is_repeated():
    """A new release of Optuna may use others."""
    used = set(re.findall(r"self\._backend\.(\w+)\(", inspect.getsource(_CachedStorage)))
    asked = {"get_heartbeat_interval", "get_heartbeat_stale_trial_callback"}  # no calls to the server
    assert used - asked <= vars(PatientStorage).keys(), used - asked - vars(PatientStorage).keys()


def test_a_line_for_the_terminal_is_not_hidden_in_the_log_of_a_trial(tmp_path, capsys):
    with console.logged(tmp_path / "log.txt"):
        console.announce("waiting for the database")
        console.say("a line of the trial")
    assert "waiting for the database" in capsys.readouterr().out
    assert (tmp_path / "log.txt").read_text() == "a line of the trial\n"


def nobody_listens() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize(("url", "message"), [
    ("postgresql://me:secret@127.0.0.1:{port}/lab", "cannot be reached"),
    ("postgresql://me@127.0.0.1:{port}/lab?password=secret", "cannot be reached"),
    ("postgresql://me:secret@127.0.0.1:none/lab", "not a URL"),
])  # fmt: skip
def test_a_database_that_is_not_there_is_one_line_without_the_password(url, message):
    pytest.importorskip("psycopg")
    began = time.monotonic()
    with pytest.raises(UserError) as refused:
        Database(url.format(port=nobody_listens()), "study", 15)
    text = str(refused.value)
    assert message in text and "\n" not in text and "secret" not in text
    assert time.monotonic() - began < 60
