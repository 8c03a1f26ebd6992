"""Errors of a run as one line that says what to do next."""

import sys
from contextlib import suppress
from pathlib import Path

from metalearn.cli.job import sweeping
from metalearn.cli.resume_command import resume_command, sweep_command
from metalearn.config.messages import one_line
from metalearn.errors import RunExists, Unfinished


def sentence(error: Exception) -> str:
    """Describe an error in one line. Call it inside the context `trust.observed()` of the run."""
    if isinstance(error, Unfinished):
        line = f"{error.reason} at meta-step {error.step}; to resume: {resume_command(error.folder)}"
        if not sweeping():
            return line
        from hydra.core.hydra_config import HydraConfig

        return f"{line}; the whole sweep: {sweep_command(Path(HydraConfig.get().sweep.dir))}"
    if isinstance(error, RunExists) and error.obstacle is None:
        command = resume_command(error.folder)
        return f"{error.folder}: already contains a run: resume it ({command}) or choose another folder"
    return one_line(error)


def say(message: str) -> None:
    """Print a line to standard error, if the terminal is still open."""
    with suppress(OSError):
        print(f"metalearn: {message}", file=sys.stderr)
