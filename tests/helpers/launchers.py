"""Processes that Hydra's launchers have started, as the system lists them."""

import importlib.util
from pathlib import Path

from tests.helpers.required import missing


def needs(plugin: str) -> None:
    """Skip a test without the plugin; in CI it fails."""
    if importlib.util.find_spec(f"hydra_plugins.hydra_{plugin}_launcher") is None:
        missing(f"no hydra-{plugin}-launcher (pip install 'metalearn-torch[launchers]')")


def children(process: int) -> list[int]:
    """List the processes that a process has started."""
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def jobs_of_submitit(process: int) -> list[int]:
    """List the processes in which the jobs of submitit run, in the order of the runs."""
    controllers = [child for child in children(process) if "submitit.local._local" in _words(child)]
    return [child for controller in sorted(controllers) for child in children(controller)]


def workers_of_joblib(process: int) -> list[int]:
    """List the processes of joblib in which runs are."""
    return [child for child in children(process) if "popen_loky_posix" in _words(child)]


def _words(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
