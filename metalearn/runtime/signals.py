"""Signals that stop a run: Ctrl-C, and those of schedulers."""

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType, TracebackType

from metalearn.runtime import distributed

# Ctrl-C; termination by a scheduler or the system; Slurm's --signal=USR1@60 before the time limit; a lost terminal
NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")


# Environment variables of a process that another one has started
PARENT = "METALEARN_PARENT"  # the id of the parent process; this process stops when the parent has ended
STOP = "METALEARN_STOP"  # path of a file; when the parent writes the number of a signal there, this process stops too


class Stopped(Exception):
    """Request to stop the run, by a signal.

    Attributes:
        status: the exit status to end with.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number  # as shells report it


def preemption() -> int | None:
    """Return the signal with which submitit asks its job to make way; None outside its jobs.

    The handler of submitit starts the job again and ends the process. It runs when a run has been saved, see `Signals`.
    """
    if "SUBMITIT_EXECUTOR" not in os.environ:
        return None
    return getattr(signal, f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}", None)


class Signals:
    """Context that handles stop signals: the first is kept for `check`, and the second ends the process at once.

    The end of torchrun, or of the process named by `PARENT`, counts as SIGHUP, so that no process keeps training after
    the one that started it was killed. A preemption stops the run too, even after another signal. The caller of the run
    must then raise the preemption signal again, so that submitit's handler starts the job anew.

    Args:
        forward: file to write when a signal arrives, which is the `STOP` of other processes.
    """

    def __init__(self, forward: Path | None = None) -> None:
        parent, stop = os.environ.get(PARENT), os.environ.get(STOP)
        self._launcher = int(parent) if parent else os.getppid() if distributed.is_torchrun() else None
        self._stop, self._forward = Path(stop) if stop else None, forward
        self._preemption = preemption()
        self._asked: int | None = None
        self._before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():  # the only one that may set handlers
            for number in {*(getattr(signal, name, None) for name in NAMES), self._preemption}:
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
        if self._stop and self._asked is None and self._stop.exists():
            self._asked = stop_asked(self._stop)
        if self._asked is not None:
            raise Stopped(self._asked)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked is not None and self._asked == self._preemption:  # no time is left to save
            if callable(start_again := self._before[self._asked]):
                start_again(self._asked, frame)
            return
        preempted = number == self._preemption
        if self._asked is not None and not preempted:
            # Files are written atomically, so only the steps since the last checkpoint are lost
            _tell(b"metalearn: stopped at once\n")
            os._exit(128 + number)
        self._asked = number
        outer = getattr(self._before.get(number), "__self__", None)
        if isinstance(outer, Signals):  # of the search around this run
            outer._asked = number
        if self._forward:
            with contextlib.suppress(OSError):
                self._forward.write_text(str(number))
        if not self._stop:  # otherwise the parent prints this line
            after = b"" if preempted else b"; once more stops at once"
            _tell(b"metalearn: %bfinishing the meta-step and saving%b\n" % (b"preempted; " * preempted, after))


def stop_asked(file: Path) -> int | None:
    """Return the number of the signal in a `STOP` file, SIGTERM if it cannot be read; None where there is no file."""
    try:
        return int(file.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return signal.SIGTERM


def _tell(line: bytes) -> None:
    """Write a line to standard error, and ignore errors, which would interrupt a meta-step."""
    with contextlib.suppress(Exception):
        os.write(sys.stderr.fileno(), line)
