"""Errors of a run as one line that says what to do next."""

import sys
import traceback
from contextlib import suppress
from pathlib import Path

from metalearn.cli.job import sweeping
from metalearn.cli.resume_command import resume_command, sweep_command
from metalearn.config.messages import one_line
from metalearn.runtime.errors import RunExists, Unfinished, described


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


def unexpected(error: Exception) -> str:
    """Describe an error of the user's or of metalearn's code in one line.

    The traceback, without Hydra's part, is written into the run's folder in a sweep, whose other runs continue. For a
    single run it is printed.
    """
    trace = error.__traceback__
    lines = traceback.format_exception(type(error), error, trace and trace.tb_next)
    if not sweeping():
        sys.stderr.write("".join(lines))
        return described(error)
    from hydra.core.hydra_config import HydraConfig

    file = Path(HydraConfig.get().runtime.output_dir) / "traceback.txt"
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(lines))
    return f"failed: {described(error)}; traceback: {file}"


def say(message: str) -> None:
    """Print a line to standard error, if the terminal is still open."""
    with suppress(OSError):
        print(f"metalearn: {message}", file=sys.stderr)
