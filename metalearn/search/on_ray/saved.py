"""A trial as Ray keeps it: its run folder with this project's checkpoint, and the schedule of its settings.

Files are copied, and none is unpickled. A resumed search finds the last whole one of a trial here.
"""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metalearn.recording import checkpoint
from metalearn.recording.checkpoint import BEFORE, LAST
from metalearn.runtime.errors import UserError
from metalearn.runtime.files import read_json, write_atomically
from metalearn.search.population import Schedule

RUN, FACTS = "run", "trial.json"  # in a checkpoint of Ray
LOG = "trial.txt"  # in a run folder: what the training prints
SESSION = "session_"  # an experiment of Ray; each start of a search makes one


@dataclass(frozen=True)
class Saved:
    """A trial in a folder.

    Args:
        folder: a checkpoint of Ray.
        number: of the trial that wrote it.
        schedule: the settings under which it was trained.
        measured: the meta-step of its last validation.
    """

    folder: Path
    number: int
    schedule: Schedule
    measured: int


def save(run: Path, folder: Path, number: int, schedule: Schedule, measured: int) -> None:
    """Copy a run folder and its facts into a checkpoint of Ray."""
    if run.exists():  # a trial that failed at once has none
        shutil.copytree(run, folder / RUN, ignore=_unused, dirs_exist_ok=True)
    facts = {"number": number, "schedule": schedule, "measured": measured}
    write_atomically(folder / FACTS, json.dumps(facts).encode())


def load(folder: Path, run: Path) -> Saved:
    """Replace a run folder by that of a checkpoint of Ray.

    Raises:
        OSError, ValueError: the checkpoint is incomplete.
    """
    saved = read(folder)
    shutil.rmtree(run, ignore_errors=True)
    if (folder / RUN).exists():
        shutil.copytree(folder / RUN, run, ignore=_unused)
    return saved


def read(folder: Path) -> Saved:
    """Read the facts of a checkpoint.

    Raises:
        OSError, ValueError: they are missing or damaged.
    """
    facts: Any = read_json(folder / FACTS)
    try:
        schedule = [(int(step), dict(settings)) for step, settings in facts["schedule"]]
        return Saved(folder, int(facts["number"]), schedule, int(facts["measured"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / FACTS}: damaged") from error


def step(run: Path) -> int:
    """Return the meta-step of the checkpoint in a run folder; 0 where there is none."""
    last = run / "checkpoints" / LAST
    return int(checkpoint.read(last)["step"]) if last.exists() else 0


def remove(run: Path) -> None:
    """Remove a run folder."""
    shutil.rmtree(run, ignore_errors=True)


def newest(sessions: Path, number: int) -> Saved | None:
    """Return the last checkpoint of a trial that is whole, or None. A killed search may leave half a copy."""
    for folder in _newest_first(sessions, number):
        try:
            saved = read(folder)
            if (folder / RUN / "checkpoints" / LAST).exists():
                checkpoint.read(folder / RUN / "checkpoints" / LAST)
                return saved
        except (OSError, ValueError, UserError):
            continue
    return None


def next_session(sessions: Path) -> str:
    """Return the name of an experiment that is not there yet."""
    return f"{SESSION}{max((_number(path) for path in sessions.glob(f'{SESSION}*')), default=-1) + 1}"


def _unused(folder: str, names: list[str]) -> set[str]:
    """Return what is not copied: checkpoints that are replaced, locks, temporary files, and links of trackers."""
    return {name for name in names if name == BEFORE or name.startswith(".") or (Path(folder) / name).is_symlink()}


def _newest_first(sessions: Path, number: int) -> Iterator[Path]:
    for session in _ordered(list(sessions.glob(f"{SESSION}*"))):
        yield from _ordered(list(session.glob(f"{number}/checkpoint_*")))


def _ordered(paths: Sequence[Path]) -> list[Path]:
    return sorted(paths, key=_number, reverse=True)


def _number(path: Path) -> int:
    """Return the number at the end of a name; -1 where there is none."""
    found = re.search(r"_(\d+)$", path.name)
    return int(found[1]) if found else -1
