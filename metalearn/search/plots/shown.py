"""The trials of a study as its pictures show them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from metalearn.recording.plots.style import COLOURS, pyplot
from metalearn.search.records import number, settings
from metalearn.search.results import best
from metalearn.search.study import Study

GREY = "#888888"
DONE, STOPPED, FAILED, OPEN = "complete", "stopped early", "failed", "not finished"
COLOUR = {DONE: COLOURS[0], STOPPED: COLOURS[1], FAILED: GREY, OPEN: COLOURS[4]}


@dataclass(frozen=True)
class Shown:
    """A trial.

    Args:
        number: as users see it.
        kind: DONE, STOPPED, FAILED or OPEN.
        settings: by name.
        score: by the first objective; of a trial that was stopped early, its last one; None if it has none.
    """

    number: int
    kind: str
    settings: Mapping[str, Any]
    score: float | None


def shown(study: Study) -> list[Shown]:
    """Return the trials of a study by number."""
    trials = [Shown(number(t), kind(t), settings(t), _score(t)) for t in study.latest().values()]
    return sorted(trials, key=lambda trial: trial.number)


def kind(trial: FrozenTrial) -> str:
    """Return what became of a trial."""
    kinds = {TrialState.COMPLETE: DONE, TrialState.PRUNED: STOPPED, TrialState.FAIL: FAILED}
    return kinds.get(trial.state, OPEN)


def winner(study: Study) -> int | None:
    """Return the number of the best trial, or None."""
    return next((number(trial) for trial in best(study, 1)), None)


def word(kind: str, study: Study) -> str:
    """Return a kind as a legend has it."""
    return ("paused at a rung" if study.competition else "pruned") if kind == STOPPED else kind


def of(study: Study) -> str:
    """Return the name of a study's folder, for the beginning of a title."""
    return f"{study.folder.name}: " if study.folder else ""


def title(study: Study, trials: Sequence[Shown]) -> str:
    """Return how many trials there are of each kind."""
    counts = {kind: sum(trial.kind == kind for trial in trials) for kind in COLOUR}
    parts = [f"{count} {word(kind, study)}" for kind, count in counts.items() if count]
    return f"{of(study)}{len(trials)} trials, {', '.join(parts)}"


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Any, Any]:
    """Return a figure and its axes, an array of rows and columns."""
    return pyplot().subplots(  # type: ignore[no-any-return]
        rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **options
    )


def score_axis(axis: Any, study: Study, index: int = 0, which: str = "y") -> None:
    """Name an axis by an objective, and show accuracies in percent."""
    from matplotlib.ticker import PercentFormatter

    goal = study.goals[index]
    axis.set(**{f"{which}label": f"{goal.name} ({'higher' if goal.maximize else 'lower'} is better)"})
    if goal.name.endswith("accuracy"):
        getattr(axis, f"{which}axis").set_major_formatter(PercentFormatter(xmax=1))


def _score(trial: FrozenTrial) -> float | None:
    if trial.state == TrialState.COMPLETE:
        return float(trial.values[0])
    last = trial.intermediate_values.get(trial.last_step) if trial.last_step is not None else None
    return None if last is None else float(last)
