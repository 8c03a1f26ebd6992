"""The function that Hydra calls for each run: an error becomes a line, and in a sweep a record in the run's folder."""

import errno
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from metalearn.cli import launchers
from metalearn.cli.job import sweeping
from metalearn.cli.messages import say, sentence, unexpected
from metalearn.cli.overrides import about_changed_choice
from metalearn.cli.starting import announce, remove_empty_folder
from metalearn.config import trust
from metalearn.recording.job import JobRecord, read_job, write_job
from metalearn.runtime.console import logged
from metalearn.runtime.distributed import exit_now
from metalearn.runtime.errors import Unfinished, UserError, described
from metalearn.runtime.signals import PARENT, STOP, preemption

_accepted: list[bool] = []  # set when a run or a search has begun: errors after that are defects
_SIGNAL = 128  # exit statuses above are those of signals
GRACE = 10.0  # seconds that a job of submitit waits after SIGTERM, which Slurm sends first in a preemption
_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EIO)  # failures of the machine, not of the user: exit status 1


class Ending(NamedTuple):
    """End of a run, before anything about it is shown.

    Attributes:
        score: the best validation score; NaN without a result.
        status: the exit status.
        line: message for the terminal.
        why: the reason for the record, without advice.
    """

    score: float
    status: int = 0
    line: str = ""
    why: str = ""


class Task:
    """A command of the user's, called by Hydra for each of its runs.

    Launchers pickle it and call it in processes of their own. There it never ends the process: the record in the run's
    folder says how the run ended, and the process of the sweep reads that.

    Args:
        run: is given the composed configuration of a run, and returns its validation score.
        typed: the words of the command line, as typed.

    Attributes:
        sweep: identity of the command, in the records of its runs.
        words: the words of the command line that Hydra sees.
        statuses: exit statuses of the runs that failed in this process.
    """

    def __init__(self, run: Callable[[Any], float], typed: Sequence[str]):
        self._run, self._typed, self._process = run, list(typed), os.getpid()
        self.sweep, self.words = secrets.token_hex(4), list(sys.argv)
        self.statuses: list[int] = []

    def __call__(self, config: Any) -> float:
        """Run once; return the validation score, NaN for a run that failed."""
        accept()
        if os.getpid() != self._process:
            return self._elsewhere(config)
        ended = self._recorded(config) if sweeping() else self._ended(config)
        if ended.status:
            say(ended.line)
            self.statuses.append(ended.status)
        if ended.status > _SIGNAL:  # ends the whole sweep
            sys.exit(ended.status)
        return ended.score

    def _elsewhere(self, config: Any) -> float:
        """Run once in a process of a launcher."""
        folder = _folder()
        if launchers.present() != launchers.JOBLIB:
            with _command_line(self.words), launchers.threads():
                ended = self._recorded(config)
            if ended.status:
                say(ended.line)
            return ended.score
        stop = launchers.stop_file(_sweep_folder(), self.sweep)
        if stop.exists():
            return float("nan")
        self._end_with_the_sweep()
        os.environ |= {PARENT: str(self._process), STOP: str(stop)}
        name = folder.relative_to(_sweep_folder()).as_posix().replace("/", "_")
        with _command_line(self.words), logged(_sweep_folder() / "logs" / f"{name}.txt"):
            ended = self._recorded(config)
        self._end_with_the_sweep()
        return ended.score

    def _end_with_the_sweep(self) -> None:
        """End this process if the one that started it has ended: joblib would begin the next run."""
        if os.getppid() != self._process:
            exit_now(_SIGNAL + signal.SIGHUP)

    def _recorded(self, config: Any) -> Ending:
        """Run once, with a record of the end in the run's folder."""
        from hydra.core.hydra_config import HydraConfig

        hydra, folder = HydraConfig.get(), _folder()
        begun = JobRecord(self.sweep, int(hydra.job.num), list(hydra.overrides.task))
        earlier = read_job(folder)
        if earlier is not None and (earlier.sweep, earlier.number) == (begun.sweep, begun.number):
            config.resume = "auto"  # the launcher starts it again, after a preemption or the loss of a machine
            begun = begun._replace(preempted=earlier.preempted)
        write_job(folder, begun)
        ended = self._ended(config)
        over = begun._replace(status=ended.status, why=ended.why)
        number = preemption()
        if number is not None and ended.status == _SIGNAL + number:
            ended = _preempted(number, folder, over, ended)
            over = over._replace(why=ended.why)
        write_job(folder, over)
        if number not in (None, signal.SIGTERM) and ended.status == _SIGNAL + signal.SIGTERM:
            with suppress(Exception):  # the job is not started again
                time.sleep(GRACE)  # if a preemption follows, the handler of submitit ends this process
        return ended

    def _ended(self, config: Any) -> Ending:
        """Run once, and turn an error into its end."""
        from omegaconf.errors import OmegaConfBaseException

        none = float("nan")
        with trust.observed():
            try:
                if config.get("search"):
                    raise UserError("search=: a search is many runs: add -m")
                announce()
                return Ending(self._run(config))
            except (UserError, OmegaConfBaseException, OSError) as error:
                line = sentence(error) + about_changed_choice(self._typed, str(error))
                remove_empty_folder()
                return Ending(none, 1 if getattr(error, "errno", None) in _MACHINE else 2, line, line)
            except Unfinished as error:
                return Ending(none, error.status, sentence(error), f"{error.reason} at meta-step {error.step}")
            except Exception as error:  # a defect, most often of the user's own code
                line = unexpected(error)
                remove_empty_folder()
                return Ending(none, 1, line, described(error))


def accept() -> None:
    """Note that the configuration is accepted. What fails from here on is shown with its traceback."""
    _accepted.append(True)


def accepted(forget: bool = False) -> bool:
    """True if a configuration was accepted; `forget` begins anew."""
    if forget:
        _accepted.clear()
    return bool(_accepted)


def _preempted(number: int, folder: Path, record: JobRecord, ended: Ending) -> Ending:
    """Let the handler of submitit start the job again, which ends this process; else return the end of the run."""
    why = record.why.replace(f"stopped by {signal.Signals(number).name}", "preempted")
    write_job(folder, record._replace(why=why, preempted=[*record.preempted, why]))
    try:
        signal.raise_signal(number)
    except Exception as error:  # too many times
        return ended._replace(why=f"{ended.why}, and not started again: {' '.join(str(error).split())}")
    return ended


def _folder() -> Path:
    """Return the folder of the present run."""
    from hydra.core.hydra_config import HydraConfig

    return Path(HydraConfig.get().runtime.output_dir)


def _sweep_folder() -> Path:
    """Return the folder of the sweep of the present run."""
    from hydra.core.hydra_config import HydraConfig

    return Path(HydraConfig.get().sweep.dir).absolute()


@contextmanager
def _command_line(words: list[str]) -> Iterator[None]:
    """Show the user's command line in a process that a launcher has started, for the lines that resume a run."""
    before, sys.argv = sys.argv, words
    try:
        yield
    finally:
        sys.argv = before
