"""The command lines that resume a run or a sweep, as they are printed."""

import os
import sys
from pathlib import Path

from metalearn.cli.hydra_args import parsed
from metalearn.cli.overrides import sets
from metalearn.config import trust
from metalearn.config.quoting import assignment, shell_quoted
from metalearn.lifecycle.manifest import read_manifest
from metalearn.runtime import distributed


def resume_command(folder: Path) -> str:
    """Return the command line that resumes a run, to be typed in the present folder.

    Call it inside the context `trust.observed()` of the run, which knows if `trust=true` is needed.
    """
    manifest, own = read_manifest(folder), _config_dir()
    words = [_program(), *map(shell_quoted, own), assignment("resume", folder)]
    if trust.needed(manifest.overrides if manifest else (), own):
        words.append("trust=true")
    return " ".join(words)


def sweep_command(folder: Path) -> str:
    """Return the command line that resumes the sweep in a folder."""
    words = [word for word in sys.argv[1:] if not sets(word, "resume", "hydra.sweep.dir")]
    return " ".join([_program(), *map(shell_quoted, words), assignment("hydra.sweep.dir", folder), "resume=auto"])


def _config_dir() -> list[str]:
    """Return the option `--config-dir` of this process, with which the user's own choices are found from anywhere."""
    given = parsed(sys.argv[1:]).config_dir
    return ["--config-dir", os.path.abspath(given)] if given else []


def _program() -> str:
    """Return the command that started this program."""
    if distributed.is_torchrun():
        launcher = os.environ.get(distributed.LAUNCHER, "torchrun")
        return f"{launcher} --nproc-per-node {os.environ['LOCAL_WORLD_SIZE']} -m metalearn.run"
    return "metalearn" if Path(sys.argv[0]).name == "metalearn" else "python -m metalearn.run"
