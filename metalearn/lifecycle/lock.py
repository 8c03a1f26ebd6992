"""Locks on run folders: one process works on a run at a time, and new runs never share a folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO

from metalearn.runtime.errors import UserError
from metalearn.runtime.locks import FILE, lock

_claimed: dict[Path, IO[str]] = {}  # locked by `claim`, for `hold` to take over


def new_folder(folder: Path) -> Path:
    """Create the first of `folder`, `folder_2`, `folder_3`, ... that no run has, and return it.

    Of several processes that ask at the same moment, each gets a folder of its own.
    """
    for number in count(1):
        place = folder if number == 1 else folder.with_name(f"{folder.name}_{number}")
        place.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(place / FILE, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return place
    raise AssertionError("numbers have no end")


def claim(folder: Path) -> bool:
    """Lock a run folder for this process, until `hold` releases it; False where another process has it."""
    try:
        _claimed[folder.resolve()] = lock(folder)
        return True
    except (BlockingIOError, OSError):
        return False


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Lock a run folder while the context is open. The system releases the lock when the process ends, however it ends.

    On a read-only file system nothing is locked, for nothing can be written.

    Raises:
        UserError: another process works on this run.
    """
    try:
        file = _claimed.pop(folder.resolve(), None) or lock(folder)
    except BlockingIOError as error:
        raise UserError(f"{folder}: another process is working on this run") from error
    except OSError:
        if os.access(folder, os.W_OK):
            raise
        yield
        return
    with file:
        yield
