"""Several processes of one machine that work on a study: each runs the same command line."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from metalearn.config.quoting import hydra_quoted
from metalearn.runtime.console import warn
from metalearn.runtime.signals import PARENT, Stopped
from metalearn.search.study import Study

NAME = "METALEARN_SEARCH_WORKER"  # environment variable of a worker: its number
_POLL = 0.2  # seconds


def own_name() -> str | None:
    """Return the number of this worker; None in a process that the user started."""
    return os.environ.get(NAME)


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Let one worker at a time take a trial of the study in a folder."""
    with open(folder / ".turn", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run_workers(count: int, study: Study, folder: Path, check: Callable[[], None],
                recorded: Callable[[str, int], str] = lambda name, process: name) -> int:  # fmt: skip
    """Run a study by several processes until all have ended; return the highest exit status.

    The threads of this process are divided among them. A worker that is killed gives its trial back, and another takes
    its place.

    Args:
        count: number of processes.
        study: to give back the trials of a killed worker.
        folder: of the study.
        check: called often; raises Stopped after a signal, which is passed on to the workers.
        recorded: returns the name that a worker leaves in the study, from its number and its process ID.
    """
    alive = {str(number): _start(str(number), count, folder) for number in range(count)}
    status, restarts = 0, count
    try:
        while alive:
            time.sleep(_POLL)
            check()
            for name, process in list(alive.items()):
                if (code := process.poll()) is None:
                    continue
                del alive[name]
                if code < 0 and restarts:
                    restarts -= 1
                    warn(f"worker {name} was killed by signal {-code}: its trial is given back")
                    study.recover(recorded(name, process.pid))
                    alive[name] = _start(name, count, folder)
                elif code:
                    status = max(status, code if code > 0 else 128 - code)
    except Stopped as stopped:
        for process in alive.values():
            process.send_signal(stopped.status - 128)
        for process in alive.values():
            process.wait()
        raise
    return status


def _start(name: str, count: int, folder: Path) -> subprocess.Popen[bytes]:
    """Start a worker in a session of its own, so that Ctrl-C reaches it through this process alone."""
    words = [*sys.orig_argv[1:], f"hydra.sweep.dir={hydra_quoted(str(folder))}", "resume=auto"]
    threads = max(1, torch.get_num_threads() // count)
    environment = {**os.environ, NAME: name, PARENT: str(os.getpid()), "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen([sys.executable, *words], env=environment, start_new_session=True)
