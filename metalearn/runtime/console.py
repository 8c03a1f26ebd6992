"""Lines, warnings and tables in the terminal."""

import contextlib
import errno
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from rich.console import Console

_NO_LIMIT = 10_000  # characters
_copies: list[Path] = []  # files that lines are appended to, see `copied`


def drop(stream: IO[str]) -> None:
    """Discard everything that is written to this stream from now on, since it has no reader."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


class _Output:
    """Stream that is discarded when its terminal is closed, so that a progress bar cannot end the training."""

    def __init__(self, stream: IO[str]):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._guarded():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._guarded():
            self._stream.flush()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            drop(self._stream)


_logs: list["Console"] = []  # consoles of log files, the innermost last


def console() -> "Console":
    """Return the console that lines, tables and bars go to: standard output, or the log file of `logged`."""
    return _logs[-1] if _logs else terminal()


@contextlib.contextmanager
def logged(path: Path) -> Iterator[None]:
    """Append all lines, tables and warnings to a file while the context is open."""
    from rich.console import Console

    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        _logs.append(Console(file=file, highlight=False, soft_wrap=True, force_terminal=False, width=200))
        try:
            yield
        finally:
            _logs.pop()


@cache
def terminal() -> "Console":
    """Return the console of standard output, with colour if it is a terminal."""
    from rich.console import Console

    class Steady(Console):
        def on_broken_pipe(self) -> None:
            """Discard further output if the reader has closed the pipe (`| head`). Rich would end the process."""
            drop(sys.stdout)

        @property  # type: ignore[misc]  # the setter of rich is not used here
        def file(self) -> IO[str]:
            """Standard output, writable even after its terminal was closed."""
            return cast(IO[str], _Output(super().file))

    return Steady(highlight=False, soft_wrap=True)


@contextlib.contextmanager
def copied(file: Path) -> Iterator[None]:
    """Append every line that is printed inside to a file too, with its time.

    A disk that fails loses these lines, and does not end the run.
    """
    _copies.append(file)
    try:
        yield
    finally:
        _copies.remove(file)


def say(text: str, style: str | None = None) -> None:
    """Print one line."""
    for copy in _copies:
        with contextlib.suppress(OSError), open(copy, "a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
    with contextlib.suppress(OSError):  # a log on a full disk must not end the training
        console().print(text, style=style, markup=False)


def announce(text: str) -> None:
    """Print one line in the terminal, also while the lines of a trial go to its log file."""
    with contextlib.suppress(OSError):
        terminal().print(text, markup=False)


def warn(text: str) -> None:
    """Print one line that is marked as a warning."""
    say(f"WARNING: {text}", style="bold yellow")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a title and a small table whose first column holds names, as wide as its cells need.

    Columns without headings have no heading line.
    """
    from rich import box
    from rich.markup import escape
    from rich.measure import Measurement
    from rich.table import Table

    say(title)
    if not columns:
        return
    headed = any(columns)
    grid = Table(show_header=headed, box=box.SIMPLE if headed else None, padding=(0, 1 if headed else 2))
    for i, column in enumerate(columns):
        grid.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*map(escape, row))
    # Wider than the terminal if needed: a folded path cannot be copied, and a cut score cannot be read
    to = console()
    place: dict[str, Any] = {} if to is terminal() else {"file": to.file}
    wide = type(to)(highlight=False, width=_NO_LIMIT, **place)
    wide.width = max(to.width, Measurement.get(wide, wide.options, grid).maximum)
    with contextlib.suppress(OSError):
        wide.print(grid)


def values_in_words(row: Mapping[str, float]) -> str:
    """Format the last training values: loss, accuracy and rate."""
    score = f"  accuracy {row['train_accuracy']:.1%}" if "train_accuracy" in row else ""
    return f"loss {row['train_loss']:.4f}{score}  {rate_in_words(row)}"


def rate_in_words(row: Mapping[str, Any]) -> str:
    """Format the entry `tasks_per_second` or `examples_per_second`, such as `12 tasks/s`."""
    name = next(name for name in row if name.endswith("_per_second"))
    return f"{row[name]:.0f} {name.removesuffix('_per_second')}/s"


def evaluated(step: int, steps: int, row: Mapping[str, float], score: str) -> None:
    """Print the training values and the validation score of a meta-step."""
    say(f"step {step}/{steps}  {values_in_words(row)}  validation {score}")


def percent(mean: float, ci95: float) -> str:
    """Format an accuracy (0..1) with the half-width of its 95% interval, such as `96.12 ± 0.40%`."""
    if math.isnan(ci95):
        return f"{100 * mean:.2f}%"
    return f"{100 * mean:.2f} ± {100 * ci95:.2f}%"


def decimal(mean: float, ci95: float) -> str:
    """Format a mean squared error with the half-width of its 95% interval, such as `0.0213 ± 0.0011`."""
    if math.isnan(ci95):
        return f"{mean:.4f}"
    return f"{mean:.4f} ± {ci95:.4f}"
