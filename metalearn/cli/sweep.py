"""The process of a sweep: it shows which run begins and ends, and compares the runs at the end.

Runs are in this process or, by a launcher of Hydra, in others. Either way `job.json` in a run's folder says how it
ended (metalearn.recording.job), and this process reads these.
"""

import os
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from hydra.experimental.callback import Callback

from metalearn.cli import launchers
from metalearn.cli.messages import say as complain
from metalearn.cli.resume_command import sweep_command
from metalearn.cli.starting import note_folder
from metalearn.config.quoting import shell_quoted
from metalearn.recording.comparison.sweep import Sweep
from metalearn.recording.job import JobRecord, jobs_below, write_job
from metalearn.runtime.console import say
from metalearn.runtime.signals import Signals, Stopped

POLL = 2.0  # seconds between two looks at the records of runs in other processes
KILLED = "ended without a result, as a process does that is killed, or out of memory"

_open: list["SweepProcess"] = []  # the sweep that the present command may become


class Report(Callback):
    """Callback of Hydra that tells `SweepProcess` what happens. Launchers pickle it, and call it in their processes."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._sweep: Sweep | None = None

    def on_run_start(self, config: Any, **kwargs: Any) -> None:
        """Note whether the folder of a single run exists, which Hydra creates next."""
        note_folder(config.hydra.run.dir)

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        """Begin the sweep, unless it is a search, which has a report of its own."""
        if not config.get("search") and _open:
            self._sweep = _open[-1].begin(config.hydra, str(config.get("pictures")))

    def on_job_start(self, config: Any, **kwargs: Any) -> None:
        """Print which run begins in this process."""
        if self._sweep is not None and os.getpid() == self._process:
            self._sweep.start(int(config.hydra.job.num), list(config.hydra.overrides.task))

    def on_job_end(self, config: Any, job_return: Any, **kwargs: Any) -> None:
        """Note the end of a run in this process."""
        if self._sweep is not None and os.getpid() == self._process:
            value = getattr(job_return, "_return_value", None)
            self._sweep.end(isinstance(value, (int, float)) and value == value)


class SweepProcess:
    """Context of a command that may become a sweep.

    Args:
        identity: of the command, in the records of its runs.
    """

    def __init__(self, identity: str):
        self._identity, self._context = identity, ExitStack()
        self._sweep: Sweep | None = None
        self._watch: Watch | None = None
        self._signals: Signals | None = None
        self._lost: list[str] = []  # messages on jobs that ended without a result
        self.launcher, self._form = launchers.BASIC, "png"

    def __enter__(self) -> "SweepProcess":
        _open.append(self)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _open.remove(self)
        self._context.close()

    def begin(self, hydra: Any, form: str = "png") -> Sweep:
        """Prepare for the launcher in Hydra's settings; return the sweep, for runs in this process.

        Args:
            form: the setting `pictures`.
        """
        self._form = form if form in ("none", "pdf", "svg") else "png"  # also where it is swept
        self._sweep = sweep = Sweep(list(hydra.overrides.task), Path(hydra.sweep.dir))
        self.launcher = launchers.kind(hydra)
        if self.launcher == launchers.BASIC:
            return sweep
        self._context.enter_context(launchers.divided_threads(hydra, sweep.total))
        if self.launcher == launchers.SUBMITIT:
            self._lost = self._context.enter_context(launchers.every_job_awaited())
            logs = str(hydra.launcher.get("submitit_folder")).partition("/%")[0]
            say(f"{sweep.folder}: the output of the runs is in {logs}")
        elif self.launcher == launchers.JOBLIB:
            stop = launchers.stop_file(sweep.folder, self._identity)
            self._context.callback(stop.unlink, missing_ok=True)
            self._signals = self._context.enter_context(Signals(forward=stop))
            say(f"{sweep.folder}: the output of the runs is in {sweep.folder / 'logs'}")
        self._watch = self._context.enter_context(Watch(sweep, self._identity))
        return sweep

    def finish(self, failure: Exception | None = None) -> int:
        """Report the end of the runs, and compare them; return the exit status.

        Args:
            failure: of the launcher, after which runs may be missing.
        """
        sweep = self._sweep
        if sweep is None:
            return 0
        if self._watch:
            self._watch.close()
        records = [self._killed(*pair) for pair in jobs_below(sweep.folder, self._identity)]
        if stopped := self._stopped():
            done = sum(record.status == 0 for record in records)
            of = f" of {sweep.total}" if sweep.total else ""
            complain(f"stopped by {stopped}; {done}{of} runs are complete; to resume: {sweep_command(sweep.folder)}")
            return stopped.status
        from metalearn.recording.comparison.show import show_sweep

        show_sweep(sweep.folder, self._form)
        if failure is not None:
            complain(f"hydra/launcher={self.launcher}: {_first_line(failure)}")
        for message in self._lost:
            complain(message)
        missing = max(0, (sweep.total or 0) - len(records))
        again = [str(record.number + 1) for record in records if record.stopped or record.why == KILLED]
        left = [f"run{'s' * (len(again) > 1)} {', '.join(again)} did not end"] if again else []
        left += [f"{missing} did not begin"] if missing else []
        if left:
            complain(f"{', '.join(left)}; to resume: {sweep_command(sweep.folder)}")
        if failure is not None and not records:
            return 2
        return max([record.status or 0 for record in records] + [int(bool(self._lost or failure or missing))])

    def left_alone(self) -> str:
        """Describe what becomes of runs in other processes, when this process is interrupted."""
        assert self._sweep is not None
        folder = self._sweep.folder
        return (
            f"interrupted; runs that hydra/launcher={self.launcher} has started may continue. To compare them: python "
            f"-m metalearn.compare {shell_quoted(folder)}; to resume what is left then: {sweep_command(folder)}"
        )

    def _stopped(self) -> Stopped | None:
        """Return the signal that this process received while runs were in others."""
        try:
            if self._signals:
                self._signals.check()
        except Stopped as stopped:
            return stopped
        return None

    def _killed(self, folder: Path, record: JobRecord) -> JobRecord:
        """Complete the record of a run that could not write its end."""
        if record.status is not None:
            return record
        record = record._replace(status=1, why=KILLED)
        write_job(folder, record)
        return record


class Watch:
    """Thread that prints which runs begin and end in other processes, as their records say.

    Args:
        sweep: the runs that it has started are in this process and are not printed.
        identity: of the command.
    """

    def __init__(self, sweep: Sweep, identity: str):
        self._sweep, self._identity = sweep, identity
        self._seen: dict[int, JobRecord] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Print what has changed since the last look, and end the thread."""
        if not self._closed.is_set():
            self._closed.set()
            self._thread.join()
            self._look()

    def _run(self) -> None:
        while not self._closed.wait(POLL):
            self._look()

    def _look(self) -> None:
        for _, record in jobs_below(self._sweep.folder, self._identity):
            before = self._seen.get(record.number)
            if record == before or record.number in self._sweep.here:
                continue
            self._seen[record.number] = record
            name = self._sweep.name(record.number)
            if before is None or before.status is not None:
                say(f"{name}: {self._sweep.own(record.words)}")
            # A preempted run may have been started again since the last look
            for why in record.preempted[len(before.preempted) if before else 0 :]:
                complain(f"{name}: {why}; it will be started again")
            if record.status == 0:
                say(f"{name} is complete")
            elif record.status is not None and not record.waits:
                complain(f"{name}: {record.ending}")


def _first_line(error: Exception) -> str:
    """Describe an error of a launcher in one line."""
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
