"""The record of a run: metrics.csv always, a tracker beside it, result.json at the end."""

import csv
import json
import subprocess
from pathlib import Path
from typing import Any

from metalearn.trackers.base import Tracker

COLUMNS = ("step", "train_loss", "train_{score}", "val_{score}", "val_ci95", "lr", "tasks_per_second", "train_seconds")


class Record:
    """A run's folder and what is written there while it runs."""

    def __init__(self, folder: Path, tracker: Tracker, score_name: str):
        self.folder, self.tracker = folder, tracker
        self.columns = [column.format(score=score_name) for column in COLUMNS]
        folder.mkdir(parents=True, exist_ok=True)
        self.rows: list[dict[str, float]] = []
        with open(folder / "metrics.csv", "w", newline="") as file:
            csv.writer(file).writerow(self.columns)

    def log(self, step: int, row: dict[str, float]) -> None:
        """Append one row to metrics.csv; hand it to the tracker."""
        row = {"step": step, **row}
        self.rows.append(row)
        with open(self.folder / "metrics.csv", "a", newline="") as file:
            csv.DictWriter(file, self.columns, restval="", extrasaction="ignore").writerow(row)
        self.tracker.log(step, {name: value for name, value in row.items() if name != "step"})

    def result(self, result: dict[str, Any]) -> None:
        """Write result.json."""
        (self.folder / "result.json").write_text(json.dumps(result, indent=2) + "\n")


def git_commit() -> str | None:
    """The commit of this package's source, with "+changes" where files differ; None outside its repository."""
    here = Path(__file__)

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here.parent), *words], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # installed into somebody else's repository, it is not tracked
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None
