"""The journal of a study: one JSON value a line, in a file that several processes of one machine append to."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend


class JournalFile(JournalFileBackend):
    """A journal that a kill or a full disk in the middle of a line does not damage.

    Optuna's appends to an unfinished line, after which the file cannot be read, and waits 30 seconds for the lock of a
    killed process. Here the unfinished line is cut off, and the system frees the lock.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path):
        self._path = path
        super().__init__(str(path))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append values, all or none of them."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with open(self._path, "rb+", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            end = _end(file)
            try:
                file.truncate(end)
                file.seek(end)
                while lines:
                    lines = lines[file.write(lines) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise


def _end(file: Any, block: int = 4096) -> int:
    """Return the position after the last whole line."""
    place = file.seek(0, os.SEEK_END)
    while place > 0:
        start = max(0, place - block)
        file.seek(start)
        if (found := file.read(place - start).rfind(b"\n")) >= 0:
            return int(start + found + 1)
        place = start
    return 0
