"""Lines, warnings and tables in the terminal."""

import contextlib
import errno
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from rich.console import Console


def drop(stream: IO[str]) -> None:
    """Send what is still written to this stream nowhere: nobody can read it any more."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


class _Output:
    """A stream that is dropped when its terminal is closed, as a training must not end by a progress bar."""

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


@cache
def console() -> "Console":
    """Standard output, in colour where it is a terminal."""
    from rich.console import Console

    class Steady(Console):
        def on_broken_pipe(self) -> None:
            """Nobody reads any more (`| head`): that ends no training, as rich would have it."""
            drop(sys.stdout)

        @property  # type: ignore[misc]  # rich has a setter too, which is not used here
        def file(self) -> IO[str]:
            """Standard output, safe to write to after its terminal was closed."""
            return cast(IO[str], _Output(super().file))

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
    from rich.markup import escape
    from rich.table import Table

    grid = Table(title=escape(title), title_justify="left", show_header=any(columns), box=box.SIMPLE)
    for i, column in enumerate(columns):
        grid.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*map(escape, row))
    # Wider than the terminal rather than folded: a path must stay in one piece to be copied
    with contextlib.suppress(OSError):
        type(console())(highlight=False, width=max(console().width, 200)).print(grid)


def values_in_words(row: Mapping[str, float]) -> str:
    """The last training values: loss, accuracy and rate."""
    score = f"  accuracy {row['train_accuracy']:.1%}" if "train_accuracy" in row else ""
    return f"loss {row['train_loss']:.4f}{score}  {rate_in_words(row)}"


def rate_in_words(row: Mapping[str, Any]) -> str:
    """The entry `tasks_per_second` or `examples_per_second` as `12 tasks/s`."""
    name = next(name for name in row if name.endswith("_per_second"))
    return f"{row[name]:.0f} {name.removesuffix('_per_second')}/s"


def evaluated(step: int, steps: int, row: Mapping[str, float], score: str) -> None:
    """Print the training values and the validation score of a meta-step."""
    say(f"step {step}/{steps}  {values_in_words(row)}  validation {score}")


def percent(mean: float, ci95: float) -> str:
    """An accuracy with its interval, such as 96.12 ± 0.40%."""
    if math.isnan(ci95):
        return f"{100 * mean:.2f}%"
    return f"{100 * mean:.2f} ± {100 * ci95:.2f}%"


def decimal(mean: float, ci95: float) -> str:
    """A mean squared error with its interval."""
    if math.isnan(ci95):
        return f"{mean:.4f}"
    return f"{mean:.4f} ± {ci95:.4f}"
