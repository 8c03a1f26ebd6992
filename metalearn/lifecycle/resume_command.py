"""The command line that resumes a run, as it is printed."""

import os
import shlex
import sys
from pathlib import Path

from metalearn.config import trust
from metalearn.config.quoting import hydra_quoted
from metalearn.lifecycle.manifest import read_manifest
from metalearn.runtime import distributed


def command(folder: Path) -> str:
    """The command line that resumes a run, to be typed in the same folder."""
    manifest = read_manifest(folder)
    trusted = " trust=true" if trust.needed(manifest.overrides if manifest else ()) else ""
    return f"{program()}{_config_dir()} resume={quoted(folder)}{trusted}"


def _config_dir() -> str:
    """The option `--config-dir` as this process was given it: without it, the user's own choices would not be found."""
    from hydra._internal.utils import get_args_parser
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():  # called from Python
        return ""
    given = get_args_parser().parse_known_args(sys.argv[1:])[0].config_dir
    return f" --config-dir {shlex.quote(given)}" if given else ""


def program() -> str:
    """The command that started this program."""
    if distributed.is_torchrun():
        launcher = os.environ.get(distributed.LAUNCHER, "torchrun")
        return f"{launcher} --nproc-per-node {os.environ['LOCAL_WORLD_SIZE']} -m metalearn.run"
    return "metalearn" if Path(sys.argv[0]).name == "metalearn" else "python -m metalearn.run"


def quoted(folder: Path) -> str:
    """Quote a path as a value on the command line, for Hydra's grammar and for the shell."""
    text = str(folder)
    plain = all(c.isalnum() or c in "/._-+%@" for c in text)
    return shlex.quote(text if plain else hydra_quoted(text))
