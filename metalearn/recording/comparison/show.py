"""Comparisons in the terminal, and as files beside the runs."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from metalearn.recording.comparison.figure import learning_curves
from metalearn.recording.comparison.formats import as_csv
from metalearn.recording.comparison.groups import varying
from metalearn.recording.comparison.pivot import pivot
from metalearn.recording.comparison.runs import Run, read_runs
from metalearn.recording.comparison.table import Table, compare_runs
from metalearn.recording.comparison.width import WIDTH
from metalearn.runtime import console
from metalearn.runtime.console import say, warn
from metalearn.runtime.errors import UserError
from metalearn.runtime.files import write_atomically


def show_sweep(folder: Path, form: str = "png") -> None:
    """Compare the runs of a sweep; if two settings vary, show a table of scores by these two as well.

    Args:
        folder: of the sweep.
        form: of the picture: png, pdf, svg; none draws none.
    """
    try:
        runs = read_runs([folder])
    except UserError:  # no run was started
        return
    show(runs, folder, form)
    names = [name for name in varying([run for run in runs if run.result]) if name != "seed"]
    if len(names) == 2:
        with suppress(UserError):  # no two runs differ in these alone
            show_pivot(runs, *names)


def show(runs: Sequence[Run], folder: Path | None, form: str = "png") -> None:
    """Print the table; if a folder is given, write comparison.csv and a picture of this form into it."""
    terminal = console.console()
    _print(compare_runs(runs, max(terminal.width, WIDTH) if terminal.is_terminal else WIDTH))
    if folder is None:
        return
    try:
        write_atomically(folder / "comparison.csv", as_csv(runs).encode())
        figure = None if form == "none" else learning_curves(runs, folder / f"comparison.{form}")
        say(f"written: {folder / 'comparison.csv'}" + (f", {figure}" if figure else ""))
    except OSError as error:
        warn(f"{folder}: the comparison is not written ({error.strerror or error})")


def show_pivot(runs: Sequence[Run], row: str, column: str) -> None:
    """Print tables of validation scores by two settings."""
    for table in pivot(runs, row, column):
        _print(table)


def _print(table: Table) -> None:
    console.table(table.title, table.columns, table.rows)
    for note in table.notes:
        say(note)
