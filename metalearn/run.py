"""The command line: `python -m metalearn.run algo=maml`."""

import os
import sys
from pathlib import Path
from typing import Any

from metalearn.cli import app
from metalearn.cli.job import requested
from metalearn.cli.messages import say
from metalearn.cli.starting import INTERRUPTED
from metalearn.runtime.console import drop
from metalearn.runtime.distributed import ProcessGroup, exit_now, is_torchrun, is_worker
from metalearn.runtime.errors import refuse_foreign_files


def main(config: Any = None, folder: str | Path | None = None, group: ProcessGroup | None = None) -> float:
    """Run once; return the best validation score, which is the objective of a sweep.

    Args:
        config: a composed configuration; None to compose it from the command line.
        folder: of the run; None for Hydra's, that of `resume`, or a new one, `runs/<time>`.
        group: the processes that share each meta-batch; None for one process.
    """
    job = requested(config, folder)
    from metalearn.lifecycle.launch import launch  # imports torch, which a wrong configuration need not wait for

    return launch(job.config, job.folder, job.invocation, group).score


def cli() -> None:
    """Run as the user types it. A mistake ends in one line and exit status 2."""
    try:
        refuse_foreign_files()  # their __init__.py may have replaced ours
    except ImportError as error:
        say(str(error))
        sys.exit(2)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # the console script finds classes in the present folder too
    if is_worker():
        from metalearn.lifecycle.worker import worker_loop

        exit_now(worker_loop())
    group = ProcessGroup() if is_torchrun() else None
    try:
        try:
            status = app.start(lambda config: main(config, group=group))
        finally:
            if group:
                group.stop_workers()
    except SystemExit as stopped:  # by a signal
        status = stopped.code if isinstance(stopped.code, int) else 1
    except KeyboardInterrupt:
        say(INTERRUPTED)
        exit_now(130)  # at a regular exit Python may end by the signal, if C code was interrupted
    if group:
        exit_now(status)
    _drop_unwritable_output()
    sys.exit(status)


def _drop_unwritable_output() -> None:
    """Redirect streams that cannot be flushed, such as a closed terminal; else Python would exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            drop(stream)


if __name__ == "__main__":
    cli()
