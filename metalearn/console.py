"""Lines, warnings and tables in the terminal."""

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cache
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


def values_in_words(row: Mapping[str, float]) -> str:
    """The last training values: loss, accuracy and rate."""
    score = f"  accuracy {row['train_accuracy']:.1%}" if "train_accuracy" in row else ""
    return f"loss {row['train_loss']:.4f}{score}  {row['tasks_per_second']:.0f} tasks/s"


def evaluated(step: int, steps: int, row: Mapping[str, float]) -> None:
    """Print the training values and the validation score of a meta-step."""
    say(f"step {step}/{steps}  {values_in_words(row)}  validation {_score(row)}")


def _score(row: Mapping[str, float]) -> str:
    name, spell = ("accuracy", percent) if "val_accuracy" in row else ("mse", decimal)
    return f"{name} {spell(row[f'val_{name}'], row['val_ci95'])}"


def percent(mean: float, ci95: float) -> str:
    """An accuracy with its interval, such as 96.12 ± 0.40%."""
    return f"{100 * mean:.2f} ± {100 * ci95:.2f}%"


def decimal(mean: float, ci95: float) -> str:
    """A mean squared error with its interval."""
    return f"{mean:.4f} ± {ci95:.4f}"
