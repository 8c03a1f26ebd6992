"""The facts that the steps of a run share, and the end of a run that is stopped early."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from metalearn.controls.loop import Failed, Paused
from metalearn.lifecycle.initial_weights import Initial
from metalearn.lifecycle.setup import Setup
from metalearn.recording.writer import RetryingWriter
from metalearn.runtime.errors import Unfinished
from metalearn.runtime.progress import Progress
from metalearn.runtime.signals import Stopped


@dataclass(frozen=True)
class Session:
    """A process that works on a run.

    Args:
        folder: of the run.
        initial: the weights that the run starts from, `init=`; None to start from the model's own.
        check: called where the run can be stopped; raises Stopped after a signal.
        writer: repeats writes that failed.
    """

    setup: Setup
    folder: Path
    initial: Initial | None
    check: Callable[[], None]
    writer: RetryingWriter
    progress: Progress


@contextmanager
def stoppable(folder: Path, save: Callable[[], int]) -> Iterator[None]:
    """Save the run and raise Unfinished when a signal, a control or the disk ends it early, or Paused for a study.

    Args:
        save: writes the checkpoint to resume from and returns its meta-step.
    """
    try:
        yield
        return
    except Paused:
        save()
        raise
    except Stopped as stopped:
        reason, status = f"stopped by {stopped}", stopped.status
    except Failed as failed:
        reason, status = f"ERROR: {failed}", 1
    except OSError as error:
        reason, status = f"{error.filename or folder}: {error.strerror or error}", 1
    raise Unfinished(reason, save(), folder, status)
