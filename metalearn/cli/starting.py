"""The start of a command, before anything is recorded: imports, and the reading of the data."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from metalearn.runtime.console import say

_ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
INTERRUPTED = "interrupted; nothing was being trained"
_made: list[Path] = []  # the folder of a single run and those above it, if Hydra makes them for this command


def announce() -> None:
    """Print that the command starts, if the imports that take seconds are still to come."""
    if "torch" not in sys.modules:
        say("metalearn: starting ...")


def note_folder(folder: str) -> None:
    """Note the folder of a single run, and those above it, before Hydra makes them, unless they exist."""
    place = Path(folder).absolute()
    _made[:] = [path for path in (place, *place.parents) if not path.exists()]


def remove_empty_folder() -> None:
    """Remove the folders in which nothing was begun, if Hydra has made them for this command."""
    with suppress(OSError):  # a run was started in it: the folder has its record
        for folder in _made:
            folder.rmdir()


@contextmanager
def empty_folder_removed() -> Iterator[None]:
    """Remove the empty folder of a single run that a signal ends while the context is open, before the run begins.

    A run that has begun handles signals by itself (metalearn.runtime.signals).
    """
    _made.clear()
    before = {}
    with suppress(ValueError):  # not in the main thread
        free = [number for number in _ENDS if signal.getsignal(number) == signal.SIG_DFL]
        before = {number: signal.signal(number, _end) for number in free}
    try:
        with interruptible(INTERRUPTED):
            yield
    except KeyboardInterrupt:
        remove_empty_folder()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interruptible(line: str) -> Iterator[None]:
    """Let Ctrl-C end the process with this line where it interrupts the import of torch, whose C++ code would abort."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        torch = sys.modules.get("torch")
        if torch is None or not getattr(torch.__spec__, "_initializing", False):
            raise KeyboardInterrupt
        remove_empty_folder()
        os.write(sys.stderr.fileno(), f"metalearn: {line}\n".encode())
        os._exit(130)

    usual = False
    with suppress(ValueError):  # not in the main thread
        if usual := signal.getsignal(signal.SIGINT) == signal.default_int_handler:
            signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    remove_empty_folder()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
