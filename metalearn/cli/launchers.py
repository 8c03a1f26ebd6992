"""Hydra's launchers for sweeps: joblib for processes of this machine, submitit for jobs of Slurm or of this machine."""

import importlib.util
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from metalearn.cli.overrides import sets, value_of
from metalearn.runtime import distributed
from metalearn.runtime.errors import UserError

BASIC, JOBLIB, SUBMITIT = "basic", "joblib", "submitit"
THREADS = "OMP_NUM_THREADS"
_PLUGINS = (JOBLIB, SUBMITIT)


def kind(hydra: Any) -> str:
    """Return the kind of the launcher in Hydra's settings: BASIC, JOBLIB, SUBMITIT, or the path of another class."""
    target = str(hydra.launcher.get("_target_"))
    return next((name for name in (BASIC, *_PLUGINS) if f"{name}_launcher" in target), target)


def present() -> str:
    """Return the kind of the launcher that has started the present run."""
    from hydra.core.hydra_config import HydraConfig

    return kind(HydraConfig.get())


def check(words: Sequence[str]) -> None:
    """Refuse a launcher that cannot be used, before Hydra looks for it.

    Raises:
        UserError: in one line, with what to do.
    """
    for word in words:
        if not sets(word, "hydra/launcher") or (name := value_of(word)) in ("", "null", BASIC):
            continue
        plugin = name.partition("_")[0]
        if plugin in _PLUGINS and importlib.util.find_spec(f"hydra_plugins.hydra_{plugin}_launcher") is None:
            raise UserError(f"{word}: needs hydra-{plugin}-launcher; in the clone: pip install '.[launchers]'")
        if any(sets(other, "search") and value_of(other) not in ("", "null") for other in words):
            raise UserError(f"{word}: is for plain sweeps; a search starts its own processes: search.workers=N")
        if distributed.is_torchrun():
            raise UserError(f"{word}: starts processes of its own; leave out either this or torchrun")


def stop_file(folder: Path, sweep: str) -> Path:
    """Return the file by which the process of a sweep asks its runs to stop."""
    return folder / f".stop_{sweep}"


@contextmanager
def threads() -> Iterator[None]:
    """Compute with as many threads as Slurm has given to the job, unless the user has set the number."""
    given = os.environ.get("SLURM_CPUS_PER_TASK")
    if given and THREADS not in os.environ:
        os.environ[THREADS] = given  # read by torch when it is imported, and by processes of the run
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(int(given))
    yield


@contextmanager
def divided_threads(hydra: Any, runs: int | None) -> Iterator[None]:
    """Divide the processors among the jobs of submitit on this machine, which it starts all at once.

    Nothing changes with another launcher (joblib divides by itself), or if the user has set the number of threads.

    Args:
        hydra: Hydra's settings.
        runs: of the sweep; None if unknown.
    """
    if not str(hydra.launcher.get("_target_")).endswith(".LocalLauncher") or THREADS in os.environ:
        yield
        return
    each = hydra.launcher.get("cpus_per_task") or math.floor(_processors() / (runs or _processors()))
    os.environ[THREADS] = str(max(1, each))
    try:
        yield
    finally:
        del os.environ[THREADS]


def _processors() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def every_job_awaited() -> Iterator[list[str]]:
    """Let the launcher of submitit wait for all jobs, though one of them was killed: submitit would raise at once.

    Yields:
        Messages on jobs without a result, filled while the launcher waits.
    """
    from hydra.core.utils import JobReturn, JobStatus
    from submitit.core.core import Job
    from submitit.core.utils import FailedJobError, UncompletedJobError

    messages: list[str] = []
    results = Job.results

    def patient(self: Any) -> list[Any]:
        try:
            return results(self)
        except (FailedJobError, UncompletedJobError):
            messages.append(f"job {self.job_id} of submitit has ended without a result; see {self.paths.stderr}")
            return [JobReturn(status=JobStatus.COMPLETED, _return_value=float("nan"))]

    Job.results = patient  # type: ignore[method-assign]
    try:
        yield messages
    finally:
        Job.results = results  # type: ignore[method-assign]
