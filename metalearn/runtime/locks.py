"""Locks of folders, held by one process at a time; the system releases them when the process ends, however it ends."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

FILE = ".lock"  # in the folder
_TRIES, _PAUSE = 3, 0.02  # seconds between them: `is_locked` of another process has the lock for a moment


def lock(folder: Path) -> IO[str]:
    """Lock a folder until the returned file is closed.

    Raises:
        BlockingIOError: another process has the lock.
        OSError: the file system is read-only.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)  # a link in a stranger's folder is not followed
    file = os.fdopen(os.open(folder / FILE, flags, 0o666), "w")
    for left in reversed(range(_TRIES)):
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if not left:
                file.close()
                raise
            time.sleep(_PAUSE)
        except (ImportError, OSError):  # Windows, or a file system without locks
            break
    return file


def is_locked(folder: Path) -> bool:
    """True if a process holds the lock of a folder. Nothing is written there."""
    with suppress(ImportError, OSError):
        import fcntl

        descriptor = os.open(folder / FILE, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)  # no FIFO, no link
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False
