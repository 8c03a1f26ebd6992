"""A study in trackers: a run for each trial, in the study's group, and one for the report."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metalearn.lifecycle.setup import Setup
from metalearn.search.confirm import FILE as CONFIRMED
from metalearn.search.records import IDENTITY, counted, number, settings
from metalearn.search.results import best
from metalearn.search.study import Study
from metalearn.trackers.base import StudyReport, TrackerRun


def identity(study: Study, name: str) -> str:
    """Return the identifier of a study: its name, and what distinguishes it from others of that name.

    The identifier of a trial is that of the study with the trial's number. It stays when the trial is resumed, promoted
    or retried.
    """
    return f"{re.sub(r'[^0-9A-Za-z_-]+', '_', name)[:40]}-{study.record.user_attrs[IDENTITY]}"


def summarize(study: Study, setup: Setup, folder: Path, name: str, pictures: Sequence[Path]) -> None:
    """Give the report of a study to its trackers.

    Args:
        setup: the parts of a run with the default settings, with its trackers.
        folder: of the study, with its trials.csv.
        name: of the study.
        pictures: files of the report; trackers take PNG alone.
    """
    if not (folder / "trials.csv").exists():  # a full disk
        return
    with open(folder / "trials.csv", newline="") as file:
        columns, *rows = csv.reader(file)
    report = StudyReport(
        run=TrackerRun(f"{identity(study, name)}-summary", name, resumed=True, job="summary"),
        columns=columns,
        rows=[[_value(cell) for cell in row] for row in rows],
        values=_values(study) | _confirmed(folder),
        pictures={path.stem: path for path in pictures if path.suffix == ".png"},
    )
    setup.trackers.summarize(dict(setup.config), folder, report)


def _values(study: Study) -> dict[str, Any]:
    """Return the best trial, its scores and its settings."""
    found: dict[str, Any] = {"finished_trials": len(counted(study.records()))}
    for trial in best(study, 1):
        found["best_trial"] = number(trial)
        found |= {f"best/{goal.name}": score for goal, score in zip(study.goals, trial.values, strict=True)}
        found |= {f"settings/{name}": value for name, value in settings(trial).items()}
    return found


def _confirmed(folder: Path) -> dict[str, Any]:
    """Return the comparison with the default settings, if there is one."""
    if not (folder / CONFIRMED).exists():
        return {}
    result = json.loads((folder / CONFIRMED).read_text())
    found = {"confirmed/winner": result["winner"], "confirmed/better_than_defaults": result["better_than_defaults"]}
    winner = next(entry for entry in result["configurations"] if entry["name"] == result["winner"])
    found |= {f"confirmed/{key}": winner[key] for key in ("mean", "difference", "difference_ci95")}
    test: Mapping[str, Any] = result["test"]
    found |= {f"test/{key}": test[key] for key in ("difference", "difference_ci95")}
    return found | {"test/winner": test[result["winner"]]["mean"], "test/defaults": test["defaults"]["mean"]}


def _value(cell: str) -> Any:
    """Return a cell as a number where it is one."""
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell or None
