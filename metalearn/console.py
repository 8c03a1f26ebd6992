"""What a person sees in the terminal: plain lines, warnings, a progress bar, a table."""

import contextlib
import os
import sys
from collections.abc import Sequence
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@cache
def console() -> "Console":
    """Standard output, in colour where it is a terminal."""
    from rich.console import Console

    class Steady(Console):
        def on_broken_pipe(self) -> None:
            """Nobody reads any more (`| head`): that ends no training, as rich would have it."""
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return Steady(highlight=False, soft_wrap=True)


def say(text: str, style: str | None = None) -> None:
    """One plain line."""
    with contextlib.suppress(OSError):  # a log on a full disk ends no training either
        console().print(text, style=style, markup=False)


def warn(text: str) -> None:
    """One line that stands out, in a log file as well."""
    say(f"WARNING: {text}", style="bold yellow")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A small table; the first column is a name."""
    from rich import box
    from rich.table import Table

    grid = Table(title=title, title_justify="left", show_header=any(columns), box=box.SIMPLE)
    for i, column in enumerate(columns):
        grid.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    # Wider than the terminal rather than folded: a path must stay in one piece to be copied
    with contextlib.suppress(OSError):
        type(console())(highlight=False, width=max(console().width, 200)).print(grid)


class Progress:
    """A progress bar with loss, score and tasks per second; in a log file, one line at each evaluation instead."""

    def __init__(self, steps: int):
        from rich import progress

        self._steps = steps
        self._bar = progress.Progress(
            progress.BarColumn(bar_width=12),  # with the values beside it, all fits into 80 columns
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[shown]}"),
            progress.TimeRemainingColumn(),
            console=console(),
            transient=True,
            disable=not console().is_terminal,
        )
        self._task = self._bar.add_task("", total=steps, shown="")

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def update(self, step: int, row: dict[str, float]) -> None:
        """Show the values of a log row."""
        with contextlib.suppress(OSError):
            self._bar.update(self._task, completed=step, shown=_spell(row))

    def evaluated(self, step: int, row: dict[str, float]) -> None:
        """Leave a line behind with the validation score."""
        say(f"step {step}/{self._steps}  {_spell(row)}  validation {_score(row)}")


def _spell(row: dict[str, float]) -> str:
    score = f"  accuracy {row['train_accuracy']:.1%}" if "train_accuracy" in row else ""
    return f"loss {row['train_loss']:.4f}{score}  {row['tasks_per_second']:.0f} tasks/s"


def _score(row: dict[str, float]) -> str:
    name, spell = ("accuracy", percent) if "val_accuracy" in row else ("mse", decimal)
    return f"{name} {spell(row[f'val_{name}'], row['val_ci95'])}"


def percent(mean: float, ci95: float) -> str:
    """An accuracy with its interval, such as 96.12 ± 0.40%."""
    return f"{100 * mean:.2f} ± {100 * ci95:.2f}%"


def decimal(mean: float, ci95: float) -> str:
    """A mean squared error with its interval."""
    return f"{mean:.4f} ± {ci95:.4f}"
