"""Processes that Hydra's launchers have started, as the system lists them."""

import importlib.util
import os
from contextlib import suppress
from pathlib import Path

from tests.helpers.required import missing


def needs(plugin: str) -> None:
    """Skip a test without the plugin; in CI it fails."""
    if importlib.util.find_spec(f"hydra_plugins.hydra_{plugin}_launcher") is None:
        missing(f"no hydra-{plugin}-launcher (pip install '.[launchers]')")


def children(process: int) -> list[int]:
    """List the processes that a process has started."""
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def jobs_below(folder: Path) -> dict[int, int]:
    """List the processes that train in run folders below this one, by the number of the run: each holds a lock."""
    found = {}
    for place in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError):
            for link in map(os.readlink, place.iterdir()):
                if link.startswith(f"{folder}/") and link.endswith("/.lock"):
                    found[int(Path(link).parent.name)] = int(place.parent.name)
    return found


def workers_of_joblib(process: int) -> list[int]:
    """List the processes of joblib in which runs are."""
    return [child for child in children(process) if "popen_loky_posix" in _words(child)]


def _words(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
