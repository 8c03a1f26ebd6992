"""Progress of a run: a bar in a terminal, one line per minute in a log file."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from metalearn.runtime.console import console, say, values_in_words

LINE_SECONDS = 60.0  # between lines without a terminal
VALUE_SECONDS = 1.0  # between updates of loss, score and rate in a terminal
ANNOUNCED_SECONDS = 10.0  # a shorter training does not announce its time
_FIRST_GUESS = (2, 2.0, 20)  # the first estimate needs 2 steps and 2 seconds, or 20 steps

Clock = Callable[[], float]


class Pace:
    """Estimate of the remaining time, from the steps of this session.

    In training, the rate excludes the first step, which also warms up caches and allocators, and includes the time of
    validation.

    Args:
        total: number of steps of the whole work.
        done: number of steps before this session.
        clock: monotonic clock in seconds.
        warms_up: exclude the first step from the rate.
    """

    def __init__(self, total: int, done: int, clock: Clock, warms_up: bool = True):
        self.total, self.done, self._clock = total, done, clock
        self.started = self._last = clock()
        # The step that the rate counts from, and the time of its end
        self._first = None if warms_up else (done, self.started)
        self._steps = 0  # of this session

    def step(self, done: int) -> None:
        """Record that `done` steps are done."""
        self.done, self._steps, self._last = done, self._steps + 1, self._clock()
        self._first = self._first or (done, self._last)

    @property
    def elapsed(self) -> float:
        """Duration of this session in seconds."""
        return self._clock() - self.started

    @property
    def per_step(self) -> float | None:
        """Seconds per step; None before the second step, or the first one without warm-up."""
        if self._first is None or self.done <= self._first[0]:
            return None
        return (self._last - self._first[1]) / (self.done - self._first[0])

    @property
    def remaining(self) -> float | None:
        """Estimated remaining time in seconds, which falls between two steps too; None where `per_step` is None."""
        if self.per_step is None:
            return None
        return max(0.0, self.per_step * (self.total - self.done) - (self._clock() - self._last))

    @property
    def settled(self) -> bool:
        """True when the estimate is reliable enough to be printed."""
        steps, seconds, many = _FIRST_GUESS
        return self._steps >= many or (self._steps >= steps and self.elapsed >= seconds)

    def __str__(self) -> str:
        """Format elapsed and remaining time at this moment, such as `2:31<4:10`."""
        return f"{clock_time(self.elapsed)}<{_left(self.remaining)}"


class Progress:
    """Display of the current work, its progress and its remaining time.

    Args:
        clock: monotonic clock in seconds.
    """

    def __init__(self, clock: Clock = time.monotonic):
        from rich import progress
        from rich.text import Text

        class Time(progress.ProgressColumn):
            """Elapsed and remaining time, formatted anew at each refresh, so that it moves within a long step."""

            def render(self, task: progress.Task) -> Text:
                return Text(str(task.fields["pace"]))

        self._clock = clock
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=8),  # narrow, so that all values fit into 80 columns
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[shown]}"),
            Time(),
            console=console(),
            transient=True,
            disable=not console().is_terminal,
        )
        self._open = 0  # number of open contexts that use the bar
        self._spoken = clock()  # time of the last line
        self._pace: Pace | None = None
        self._told = False  # True when the expected time was printed
        self._values, self._shown_at = "", -math.inf  # the metrics as they are shown, and since when

    @contextmanager
    def training(self, steps: int, done: int = 0) -> Iterator[None]:
        """Context manager that shows a training of `steps` meta-steps, `done` of which were done before."""
        self._pace, self._told, self._values = Pace(steps, done, self._clock), False, ""
        self._spoken, self._shown_at = self._clock(), -math.inf
        with self._shown("", self._pace) as self._task:
            yield
        self._pace = None

    def step(self, step: int, values: Callable[[], Mapping[str, float]] = dict) -> None:
        """Show that meta-step `step` is done. Call this after each meta-step; most calls take microseconds.

        Args:
            step: its number.
            values: returns the present loss, score and rate, named as in metrics.csv and timing.csv. It is called when
                they are shown, at most once a second, because it may wait for the device.
        """
        pace = self._pace
        if pace is None:
            return
        pace.step(step)
        due = VALUE_SECONDS if console().is_terminal else LINE_SECONDS
        since = self._shown_at if console().is_terminal else self._spoken
        if self._clock() - since >= due and (row := values()):
            self.values(row)
        self._update(self._task, step, self._values)
        if not self._told and pace.settled and pace.remaining is not None and step < pace.total:
            self._told = True
            if pace.remaining >= ANNOUNCED_SECONDS:
                each = pace.per_step or 0.0
                rate = f"{each:.1f} s each" if each > 1 else f"{1 / max(each, 1e-9):.1f} a second"
                say(f"expected time on this machine: about {duration(pace.remaining)} for {pace.total - step} "
                    f"meta-steps ({rate}), without validation and test")  # fmt: skip
        self._line(f"step {step}/{pace.total}  {self._values}".rstrip(), pace)

    def values(self, row: Mapping[str, float]) -> None:
        """Show the values of a row of metrics.csv and timing.csv."""
        self._values, self._shown_at = values_in_words(row), self._clock()

    @contextmanager
    def counting(
        self, what: str, total: int, check: Callable[[], None] = lambda: None
    ) -> Iterator[Callable[[int], None]]:
        """Context manager that shows a piece of work such as the validation.

        Args:
            what: its name.
            total: number of its units, such as tasks.
            check: called at each report; its exceptions end the work.

        Yields:
            A function that reports the number of units done.
        """
        pace, spoken = Pace(total, 0, self._clock, warms_up=False), self._spoken
        with self._shown(what, pace) as task:

            def report(done: int) -> None:
                check()
                pace.step(done)
                self._update(task, done, "")
                self._line(f"{what} {done}/{total}", pace)

            yield report
        if self._spoken != spoken:  # a line has reported a part of the work: report its end too
            self._line(f"{what} {total}/{total}", pace, after=0.0)

    @contextmanager
    def _shown(self, what: str, pace: Pace) -> Iterator[int]:
        """Show a bar while the context is open."""
        if not self._open:
            self._bar.start()
        self._open += 1
        task = self._bar.add_task(what, total=pace.total, completed=pace.done, shown="", pace=pace)
        try:
            yield task
        finally:
            self._bar.remove_task(task)
            self._open -= 1
            if not self._open:
                self._bar.stop()

    def _update(self, task: int, done: int, shown: str) -> None:
        with contextlib.suppress(OSError):
            self._bar.update(task, completed=done, shown=shown)  # type: ignore[arg-type]

    def _line(self, text: str, pace: Pace, after: float = LINE_SECONDS) -> None:
        """Print a line if there is no terminal and the last line is old enough.

        It ends with the time of the training, or without one, with that of the work itself.
        """
        if console().is_terminal or self._clock() - self._spoken < after:
            return
        self._spoken = self._clock()
        whole = self._pace or pace
        say(f"{text}  {duration(whole.elapsed)} elapsed, about {_words(whole.remaining)} left")


def duration(seconds: float) -> str:
    """Format a duration, such as `45 s`, `12 min` or `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def clock_time(seconds: float) -> str:
    """Format a duration as on a clock, such as `0:45` or `3:20:00`."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _left(seconds: float | None) -> str:
    return "-:--" if seconds is None else clock_time(seconds)


def _words(seconds: float | None) -> str:
    return "an unknown time" if seconds is None else duration(seconds)
