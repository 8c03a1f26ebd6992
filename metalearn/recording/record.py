"""The record of a run: tables as CSV files, a tracker beside them, result.json at the end."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metalearn.runtime.console import warn
from metalearn.runtime.files import write_atomically
from metalearn.trackers.base import Tracker

METRICS = ("step", "train_loss", "train_{score}", "val_loss", "val_{score}", "val_ci95", "lr", "grad_norm")
TIMING = ("step", "tasks_per_second", "train_seconds")  # apart, for no clock shows the same twice
LAYERS = ("step", "layer", "kind", "mean_weight", "inner_change", "relative_change")


class Disk:
    """Writes that may fail without stopping the run: said once, and tried again at the next occasion."""

    def __init__(self) -> None:
        self.failing: dict[Path, Callable[[], None]] = {}  # files that could not be written, and how to

    def attempt(self, path: Path, write: Callable[[], None], again: Callable[[], None] | None = None) -> bool:
        """Whether the write of this file went through.

        Args:
            again: how to write it later, where that is another way.
        """
        try:
            write()
        except OSError as error:
            if not self.failing:
                warn(f"{path}: {error.strerror or error}; training goes on, and writing is tried again")
            self.failing[path] = again or write
            return False
        if path in self.failing:
            del self.failing[path]
            if not self.failing:
                warn("the disk can be written again, and everything has been")
        return True

    def retry(self) -> None:
        """Try what is outstanding once more."""
        for path, write in list(self.failing.items()):
            self.attempt(path, write)

    def settle(self) -> None:
        """Write what is still outstanding.

        Raises:
            OSError: it cannot be written even now.
        """
        for path, write in list(self.failing.items()):
            write()
            del self.failing[path]


class Table:
    """A CSV file that grows; all rows are kept, so that they can be written again."""

    def __init__(self, path: Path, columns: Sequence[str], disk: Disk):
        self.path, self.columns, self.disk = path, list(columns), disk
        self.rows: list[dict[str, Any]] = []
        self._written: int | None = None  # how many rows the file has; None: it must be written afresh

    def write(self, count: int) -> None:
        """Have the file hold the first `count` rows."""
        if self._written is not None and count <= self._written:
            return
        start = self._written

        def rewrite() -> None:
            write_atomically(self.path, self._text(0, count, header=True))

        def append() -> None:
            with open(self.path, "ab") as file:
                file.write(self._text(start or 0, count))

        # After an append that failed, half a row may be there: from then on, the whole file is written
        done = self.disk.attempt(self.path, rewrite if start is None else append, rewrite)
        self._written = count if done else None

    def finish(self) -> None:
        """All rows, safe on the disk."""
        self._written = None
        self.write(len(self.rows))

    def _text(self, start: int, end: int, header: bool = False) -> bytes:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="", extrasaction="ignore", lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(self.rows[start:end])
        return text.getvalue().encode()


class Record:
    """A run's folder and what is written there while it runs.

    A row of metrics.csv is written when the next one begins, for a measurement may still be added to it.

    Args:
        disk: what the run writes with.
        prefix: of the tables' names, for a retraining.
    """

    def __init__(self, folder: Path, tracker: Tracker, score_name: str, disk: Disk, prefix: str = ""):
        self.folder, self.tracker, self.disk = folder, tracker, disk

        def table(name: str, columns: Sequence[str]) -> Table:
            return Table(folder / f"{prefix}{name}.csv", [c.format(score=score_name) for c in columns], self.disk)

        self.metrics, self.timing, self.layers = (
            table("metrics", METRICS),
            table("timing", TIMING),
            table("layers", LAYERS),
        )
        self._told = 0  # rows that the tracker has

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.csv."""
        return self.metrics.rows

    @property
    def names(self) -> list[str]:
        """The values that `log` records."""
        return list(dict.fromkeys([*self.metrics.columns, *self.timing.columns]))

    def start(self, state: dict[str, Any] | None = None) -> None:
        """Write the tables afresh: empty, or as they stood when `state` was taken."""
        if state is not None:
            self.metrics.rows, self.timing.rows, self.layers.rows = (
                state[name] for name in ("metrics", "timing", "layers")
            )
            self._told = max(0, len(self.rows) - 1)
        self._write(len(self.rows) - 1)

    def state(self) -> dict[str, Any]:
        """What `start` needs, as plain values."""
        return {name: [dict(row) for row in getattr(self, name).rows] for name in ("metrics", "timing", "layers")}

    def log(self, step: int, values: dict[str, float]) -> None:
        """Values of a meta-step; more of the same step are added to its row."""
        if not self.rows or self.rows[-1]["step"] != step:
            self._write(len(self.rows))
            self.metrics.rows.append({"step": step})
            self.timing.rows.append({"step": step})
        for table in (self.metrics, self.timing):
            table.rows[-1] |= {name: value for name, value in values.items() if name in table.columns}

    def log_layers(self, step: int, statistics: Mapping[str, tuple[float, float]], changes: Mapping[str, float],
                   kind: Callable[[str], str]) -> None:  # fmt: skip
        """Record each layer.

        Args:
            statistics: mean and root mean square of its weights.
            changes: the root mean square of what the inner loop changes, of adapted layers.
            kind: `weights`, `norm` (gamma and beta) or `rate` (learned inner rates).
        """
        for layer, (mean, size) in statistics.items():
            row: dict[str, Any] = {"step": step, "layer": layer, "kind": kind(layer), "mean_weight": mean}
            change = changes.get(layer)
            row["inner_change"] = "" if change is None else change
            row["relative_change"] = "" if change is None or not size else change / size
            self.layers.rows.append(row)

    def _layers_at(self, step: int) -> dict[str, float]:
        """Each layer's values at a step, as trackers show them."""
        found: dict[str, float] = {}
        for row in self.layers.rows:
            if row["step"] == step:
                layer, rate = row["layer"], row["kind"] == "rate"
                found[f"rates/{layer.partition('.')[2]}" if rate else f"layers/{layer} mean"] = row["mean_weight"]
                if row["relative_change"] != "":
                    found[f"layers/{layer} relative change"] = row["relative_change"]
        return found

    def flush(self) -> None:
        """Write the last row as it stands. A resumed run writes the tables afresh and may add a measurement to it."""
        self.metrics.write(len(self.rows))
        self.timing.write(len(self.rows))

    def finish(self) -> None:
        """The last row is whole, and so are the files."""
        self._write(len(self.rows))
        for table in (self.metrics, self.timing, self.layers):
            table.finish()

    def _write(self, count: int) -> None:
        """Have the files and the tracker know the first `count` rows."""
        count = max(0, count)
        self.metrics.write(count)
        self.timing.write(count)
        self.layers.write(len(self.layers.rows))
        for i in range(self._told, count):
            values = {**self.rows[i], **self.timing.rows[i]}
            step = values.pop("step")
            self.tracker.log(step, values | self._layers_at(step))
        self._told = max(self._told, count)


def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Write result.json, one entry a line."""
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in result.items())
    write_atomically(folder / "result.json", f"{{\n{lines}\n}}\n".encode())
