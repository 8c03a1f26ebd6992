"""Signals that stop a run: Ctrl-C, and those of schedulers."""

import contextlib
import os
import signal
import sys
import threading
from types import FrameType, TracebackType

from metalearn.runtime import distributed

# Ctrl-C; termination by a scheduler or the system; Slurm's --signal=USR1@60 before the time limit; a lost terminal
NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")


PARENT = "METALEARN_PARENT"  # environment variable: the process without which this one is to stop


class Stopped(Exception):
    """Request to stop the run, by a signal.

    Attributes:
        status: the exit status to end with.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number  # as shells report it


class Signals:
    """Context that handles stop signals: the first is kept for `check`, and the second ends the process at once.

    The end of torchrun, or of the process named by `PARENT`, counts as SIGHUP, so that no process keeps training after
    the one that started it was killed.
    """

    def __init__(self) -> None:
        parent = os.environ.get(PARENT)
        self._launcher = int(parent) if parent else os.getppid() if distributed.is_torchrun() else None
        self._asked: int | None = None
        self._before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():  # the only one that may set handlers
            for name in NAMES:
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # ignored under nohup
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def asked(self) -> bool:
        """True if a signal was received."""
        return self._asked is not None

    def check(self) -> None:
        """Raise Stopped if a signal was received. Call it between two meta-steps, where the state is consistent."""
        if self._launcher not in (None, os.getppid()) and self._asked is None:
            _tell(b"metalearn: the process that started this one has ended; saving\n")
            self._asked = signal.SIGHUP
        if self._asked is not None:
            raise Stopped(self._asked)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked is not None:
            # Files are written atomically, so only the steps since the last checkpoint are lost
            _tell(b"metalearn: stopped at once\n")
            os._exit(128 + number)
        self._asked = number
        outer = getattr(self._before.get(number), "__self__", None)
        if isinstance(outer, Signals):  # of the search around this run
            outer._asked = number
        _tell(b"metalearn: finishing the meta-step and saving; once more stops at once\n")


def _tell(line: bytes) -> None:
    """Write a line to standard error, and ignore errors, which would interrupt a meta-step."""
    with contextlib.suppress(Exception):
        os.write(sys.stderr.fileno(), line)
