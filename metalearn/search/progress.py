"""Progress of a study: a bar over its trials and a line for each, with the best score so far and the time left."""

import time
from types import TracebackType

from optuna.trial import TrialState

from metalearn.runtime.console import say, terminal
from metalearn.runtime.progress import duration
from metalearn.search.records import SECONDS, counted, message, number
from metalearn.search.results import best
from metalearn.search.study import Study


class StudyProgress:
    """Context that shows how far a study is.

    Args:
        study: the study.
    """

    def __init__(self, study: Study):
        from rich import progress

        self._study, self._began = study, time.monotonic()
        self._before = len(study.finished())
        self._bar = progress.Progress(
            progress.TextColumn("search"),
            progress.BarColumn(bar_width=16),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[shown]}"),
            progress.TimeElapsedColumn(),
            console=terminal(),
            transient=True,
            disable=not terminal().is_terminal,
        )
        self._task = self._bar.add_task("", total=study.trials, shown="", completed=self._done())

    def __enter__(self) -> "StudyProgress":
        self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def update(self) -> None:
        """Show the last trial."""
        study = self._study
        found = best(study, 1)
        shown = ""
        if found:
            shown = f"best {study.goals[0].name} {found[0].values[0]:.4f} (trial {number(found[0])})"
        finished = study.finished()
        done = self._done()
        each = (time.monotonic() - self._began) / max(1, len(finished) - self._before)
        left = f", about {duration(each * (study.trials - done))} left" if done < study.trials else ""
        self._bar.update(self._task, completed=done, shown=shown + left)
        last = max(finished, key=lambda trial: trial.datetime_complete.timestamp() if trial.datetime_complete else 0.0)
        say(f"trial {number(last)} ({done} of {study.trials}): {_outcome(study, last)}"
            f"{'; ' + shown if shown else ''}{left}")  # fmt: skip

    def _done(self) -> int:
        records = [trial for trial in self._study.records() if trial.state.is_finished()]
        return len(counted(records))


def _outcome(study: Study, trial: object) -> str:
    from optuna.trial import FrozenTrial

    assert isinstance(trial, FrozenTrial)
    words = " ".join(f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
                     for name, value in trial.params.items())  # fmt: skip
    seconds = f" in {duration(float(trial.user_attrs.get(SECONDS, 0.0)))}"
    if trial.state == TrialState.FAIL:
        return f"{words} failed: {message(trial)}"
    if trial.state == TrialState.PRUNED:
        kind = "paused" if study.competition else "pruned"
        return f"{words} {kind} at step {trial.last_step}{seconds}"
    scores = ", ".join(f"{goal.name} {value:.4g}" for goal, value in zip(study.goals, trial.values, strict=True))
    return f"{words}: {scores}{seconds}"
