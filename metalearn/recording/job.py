"""The record of a run in a sweep: `job.json` in the run's folder, which says how the run ended.

The process of the run writes it, and the process of the sweep reads it, so that launchers may start runs anywhere.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from metalearn.runtime.console import warn
from metalearn.runtime.files import read_json, write_atomically

FILE = "job.json"
_SIGNAL = 128  # exit statuses above are those of signals


class JobRecord(NamedTuple):
    """End of a run of a sweep.

    Attributes:
        sweep: identity of the command that started it.
        number: of the run in its sweep, from 0.
        words: its settings.
        status: exit status: 0 for a complete run, 128 + the number of a signal that stopped it; None while it runs, and
            for one that a study paused.
        why: reason of the failure, of the stop or of the pause.
        preempted: how each preemption ended the run, which the launcher then starts again.
    """

    sweep: str
    number: int
    words: list[str]
    status: int | None = None
    why: str = ""
    preempted: Sequence[str] = ()

    @property
    def stopped(self) -> bool:
        """True if a signal stopped the run, which can be resumed."""
        return self.status is not None and self.status > _SIGNAL

    @property
    def paused(self) -> bool:
        """True if a study paused or pruned the run."""
        return self.status is None and bool(self.why)

    @property
    def waits(self) -> bool:
        """True from a preemption until the launcher starts the run again."""
        return self.stopped and self.why in self.preempted[-1:]

    @property
    def ending(self) -> str:
        """The end of the run in words; empty for one that is complete or runs."""
        return self.why if self.stopped or self.paused or not self.why else f"failed: {self.why}"


def write_job(folder: Path, record: JobRecord) -> None:
    """Write the record into a run's folder; a disk that fails loses it with a warning."""
    try:
        write_atomically(folder / FILE, (json.dumps(record._asdict()) + "\n").encode())
    except OSError as error:
        warn(f"{folder / FILE}: {error.strerror or error}")


def read_job(folder: Path) -> JobRecord | None:
    """Read the record of a run; None where there is none, or a damaged one."""
    try:
        record = JobRecord(**read_json(folder / FILE))
        given = (record.sweep, record.why, *record.words, *record.preempted)
        sound = isinstance(record.number, int) and isinstance(record.status, int | None)
        return record if sound and all(isinstance(text, str) for text in given) else None
    except (OSError, ValueError, TypeError):
        return None


def forget_pause(folder: Path) -> None:
    """Remove the record of a run that a study paused, when the run is resumed."""
    if (record := read_job(folder)) and record.paused:
        with suppress(OSError):
            (folder / FILE).unlink()


def jobs_below(folder: Path, sweep: str) -> Iterator[tuple[Path, JobRecord]]:
    """Yield the folder and the record of each run that a command has started, by their numbers."""
    found = ((file.parent, read_job(file.parent)) for file in folder.rglob(FILE))
    own = [(place, record) for place, record in found if record is not None and record.sweep == sweep]
    yield from sorted(own, key=lambda pair: pair[1].number)
