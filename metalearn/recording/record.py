"""The record of a run: its tables as CSV files, with the same rows for a tracker."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metalearn.algorithms.parameters import Part
from metalearn.recording.writer import RetryingWriter
from metalearn.runtime.files import write_atomically
from metalearn.trackers.base import Tracker

METRICS = ("step", "train_loss", "train_{score}", "val_loss", "val_{score}", "val_ci95", "lr", "grad_norm")
TIMING = ("step", "{unit}_per_second", "train_seconds")  # in a file of their own: timings are not reproducible
LAYERS = ("step", "layer", "kind", "mean_weight", "inner_change", "relative_change")


class Table:
    """A growing CSV file. All rows are kept in memory, so that the file can be written again.

    Args:
        path: the file.
        columns: the header; other entries of a row are not written.
        writer: writes the file, and repeats what failed.
    """

    def __init__(self, path: Path, columns: Sequence[str], writer: RetryingWriter):
        self.path, self.columns, self._writer = path, list(columns), writer
        self.rows: list[dict[str, Any]] = []
        self._written: int | None = None  # rows in the file; None: the whole file must be written

    def write(self, count: int) -> None:
        """Make the file hold the first `count` rows."""
        if self._written is not None and count <= self._written:
            return
        start = self._written

        def rewrite() -> None:
            write_atomically(self.path, self._text(0, count, header=True))

        def append() -> None:
            with open(self.path, "ab") as file:
                file.write(self._text(start or 0, count))

        # A failed append may leave half a row, so that the whole file is written the next time
        done = self._writer.write(self.path, rewrite if start is None else append, rewrite)
        self._written = count if done else None

    def finish(self) -> None:
        """Write the whole file, with all rows."""
        self._written = None
        self.write(len(self.rows))

    def _text(self, start: int, end: int, header: bool = False) -> bytes:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="", extrasaction="ignore", lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(self.rows[start:end])
        return text.getvalue().encode()


def value_names(score_name: str, unit: str = "tasks") -> list[str]:
    """List the values that a run records.

    Args:
        score_name: `accuracy` or `mse`.
        unit: what the meta-batch of the algorithm counts, see Algorithm.unit.
    """
    return [name.format(score=score_name, unit=unit) for name in dict.fromkeys([*METRICS, *TIMING])]


class Record:
    """The tables of a run while it trains.

    A row of metrics.csv is written when the next one begins, because a measurement may still be added to it.

    Args:
        folder: of the run.
        tracker: receives every written row.
        score_name: `accuracy` or `mse`, a part of the column names.
        writer: writes the files of the run.
        prefix: put before the names of the tables, such as `retrain_`.
        unit: what the meta-batch of the algorithm counts, see Algorithm.unit.
    """

    def __init__(
        self,
        folder: Path,
        tracker: Tracker,
        score_name: str,
        writer: RetryingWriter,
        prefix: str = "",
        unit: str = "tasks",
    ):
        self.folder, self.tracker, self.writer = folder, tracker, writer

        def table(name: str, columns: Sequence[str]) -> Table:
            named = [column.format(score=score_name, unit=unit) for column in columns]
            return Table(folder / f"{prefix}{name}.csv", named, writer)

        self.metrics, self.timing, self.layers = (
            table("metrics", METRICS),
            table("timing", TIMING),
            table("layers", LAYERS),
        )
        self._tracked = 0  # rows that the tracker has received

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows of metrics.csv."""
        return self.metrics.rows

    @property
    def names(self) -> list[str]:
        """Names of the values that `log` records."""
        return list(dict.fromkeys([*self.metrics.columns, *self.timing.columns]))

    def start(self, state: dict[str, Any] | None = None) -> None:
        """Write new files: empty, or with the rows of an earlier `state()`."""
        if state is not None:
            self.metrics.rows, self.timing.rows, self.layers.rows = (
                state[name] for name in ("metrics", "timing", "layers")
            )
            self._tracked = max(0, len(self.rows) - 1)
        self._write(len(self.rows) - 1)

    def state(self) -> dict[str, Any]:
        """Return all rows as plain values, for `start`."""
        return {name: [dict(row) for row in getattr(self, name).rows] for name in ("metrics", "timing", "layers")}

    def log(self, step: int, values: dict[str, float]) -> None:
        """Record values of a meta-step, in one row for each step."""
        if not self.rows or self.rows[-1]["step"] != step:
            self._write(len(self.rows))
            self.metrics.rows.append({"step": step})
            self.timing.rows.append({"step": step})
        for table in (self.metrics, self.timing):
            table.rows[-1] |= {name: value for name, value in values.items() if name in table.columns}

    def log_layers(
        self, step: int, statistics: Mapping[Part, tuple[float, float]], changes: Mapping[str, float]
    ) -> None:
        """Record one row for each layer, and one each for gamma and beta of batch norm.

        Args:
            step: the meta-step.
            statistics: by part, the mean and the root mean square of its weights.
            changes: by name of the adapted part, the root mean square of its change by the inner loop.
        """
        for part, (mean, size) in statistics.items():
            row: dict[str, Any] = {"step": step, "layer": part.name, "kind": part.kind, "mean_weight": mean}
            change = changes.get(part.name)
            row["inner_change"] = "" if change is None else change
            row["relative_change"] = "" if change is None or not size else change / size
            self.layers.rows.append(row)

    def _layers_at(self, step: int) -> dict[str, float]:
        """Return the values of each layer at a step, by the names that trackers show."""
        found: dict[str, float] = {}
        for row in self.layers.rows:
            if row["step"] == step:
                layer, rate = row["layer"], row["kind"] == "rate"
                found[f"rates/{layer.removeprefix('rate.')}" if rate else f"layers/{layer} mean"] = row["mean_weight"]
                if row["relative_change"] != "":
                    found[f"layers/{layer} relative change"] = row["relative_change"]
        return found

    def flush(self) -> None:
        """Write the last row too, before a stopped run ends.

        Resuming writes the files anew, so that a measurement can still be added to this row.
        """
        self.metrics.write(len(self.rows))
        self.timing.write(len(self.rows))

    def pause(self) -> None:
        """Write the last row too, and send it to the tracker, before a run that may never be resumed pauses."""
        self._write(len(self.rows))

    def finish(self) -> None:
        """Write all rows and replace the files as a whole."""
        self._write(len(self.rows))
        for table in (self.metrics, self.timing, self.layers):
            table.finish()

    def _write(self, count: int) -> None:
        """Write the first `count` rows and send them to the tracker."""
        count = max(0, count)
        self.metrics.write(count)
        self.timing.write(count)
        self.layers.write(len(self.layers.rows))
        for i in range(self._tracked, count):
            values = {**self.rows[i], **self.timing.rows[i]}
            step = values.pop("step")
            self.tracker.log(step, values | self._layers_at(step))
        self._tracked = max(self._tracked, count)
