"""The course of a run so far: its rows, its curve, and its state if it has no result."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from metalearn.algorithms.objective import OBJECTIVES
from metalearn.recording.job import JobRecord
from metalearn.runtime.locks import is_locked


def state_of(folder: Path, job: JobRecord | None, progress: str) -> str:
    """Describe the state of a run without a result."""
    if is_locked(folder):
        return f"running: {progress}"
    if job and job.ending:
        return f"{job.ending}: {progress}" if job.paused else job.ending
    return f"unfinished: {progress}"


def rows_of(path: Path) -> tuple[list[dict[str, str]], str]:
    """The rows of a table, and an error message if it cannot be read, else an empty one."""
    try:
        with open(path, newline="") as file:
            return [row for row in csv.DictReader(file) if row.get("step")], ""
    except FileNotFoundError:
        return [], ""
    except (OSError, ValueError, csv.Error) as error:
        return [], f"metrics.csv cannot be read ({error})"


def curve_of(rows: Sequence[Mapping[str, str]]) -> list[tuple[int, float]]:
    """The validation scores in these rows, as (meta-step, score)."""
    found = []
    for row in rows:
        value = next(filter(None, (row.get(f"val_{objective.name}") for objective in OBJECTIVES)), None)
        try:
            found += [(int(row["step"]), float(value))] if value else []
        except ValueError:
            continue
    return found
