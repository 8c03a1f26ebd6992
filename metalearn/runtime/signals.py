"""Being asked to stop: Ctrl-C, and the signals of schedulers."""

import contextlib
import os
import signal
import sys
import threading
from types import FrameType, TracebackType

from metalearn.runtime import distributed

# Ctrl-C; a scheduler's or the system's end; what Slurm's --signal=USR1@60 sends before the time is up; a lost terminal
NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")


class Stopped(Exception):
    """A signal has asked the run to stop."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number  # as shells report it


class Signals:
    """While this context is open, the first signal is noted for `check`, and the second ends the process at once.

    Under torchrun, the end of the launcher counts as SIGHUP: no process trains on when it was killed.
    """

    def __init__(self) -> None:
        self._launcher = os.getppid() if distributed.is_torchrun() else None
        self._asked: int | None = None
        self._before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():  # elsewhere Python lets nobody handle signals
            for name in NAMES:
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays nohup
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def asked(self) -> bool:
        """True once a signal has come."""
        return self._asked is not None

    def check(self) -> None:
        """Raise Stopped where a signal has come. Called where everything is whole: between two meta-steps."""
        if self._launcher not in (None, os.getppid()) and self._asked is None:
            _tell(b"metalearn: torchrun has ended; saving\n")
            self._asked = signal.SIGHUP
        if self._asked is not None:
            raise Stopped(self._asked)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked is not None:
            # Files are replaced as a whole or not at all, so nothing is lost but the steps since the last checkpoint
            _tell(b"metalearn: stopped at once\n")
            os._exit(128 + number)
        self._asked = number
        _tell(b"metalearn: finishing the meta-step and saving; once more stops at once\n")


def _tell(line: bytes) -> None:
    """Write it if there is still somebody to read it: an error here would tear a meta-step apart."""
    with contextlib.suppress(Exception):
        os.write(sys.stderr.fileno(), line)
