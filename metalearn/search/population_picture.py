"""The picture of a population: the settings of its members over the meta-steps, and those that led to the winner."""

from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution

from metalearn.recording.plots.style import COLOURS, pyplot, saved
from metalearn.search.columns import headings
from metalearn.search.records import TRACE, number, schedule
from metalearn.search.results import best
from metalearn.search.space import Hyperparameter
from metalearn.search.study import Study


def population(study: Study, path: Path) -> Path:
    """Draw a panel for each hyperparameter, and return the file.

    Args:
        study: of a population, with a finished trial.
        path: of the file.
    """
    plt = pyplot()
    parameters = study.space.hyperparameters
    figure, axes = plt.subplots(1, len(parameters), figsize=(4.6 * len(parameters) + 0.6, 4.0), layout="constrained",
                                squeeze=False)  # fmt: skip
    names = headings([parameter.name for parameter in parameters])
    winner = next(iter(best(study, 1)), None)
    for axis, parameter, name in zip(axes[0], parameters, names, strict=True):
        for trial in study.latest().values():
            end = trial.last_step or 0
            for start, stop, value in _parts(trial.user_attrs.get(TRACE, []), parameter.name, end):
                axis.plot([start, stop], [_height(parameter, value)] * 2, color=COLOURS[0], alpha=0.55, lw=1.2)
        if winner is not None:
            parts = _parts(schedule(winner), parameter.name, winner.last_step or 0)
            for index, (start, stop, value) in enumerate(parts):
                first = index == 0 and axis is axes[0][0]
                label = f"led to the winner, trial {number(winner)}" if first else None
                height = [_height(parameter, value)] * 2
                axis.plot([start, stop], height, color=COLOURS[1], lw=2.4, label=label, solid_capstyle="butt")
        _scale(axis, parameter)
        axis.set(xlabel="meta-step", ylabel=name)
        axis.grid(alpha=0.25)
    if winner is not None:
        figure.legend(loc="outside lower right", frameon=False, fontsize=8)
    figure.suptitle(f"{len(study.latest())} trials, and the settings that they were trained with", fontsize=10)
    return saved(figure, path)


def _parts(trace: Any, name: str, end: int) -> list[tuple[int, int, Any]]:
    """Return the stretches of a setting: their first step, their last one, and the value."""
    stops = [int(step) for step, _ in trace[1:]] + [end]
    return [(int(step), stop, found[name]) for (step, found), stop in zip(trace, stops, strict=True)]


def _height(parameter: Hyperparameter, value: Any) -> float:
    distribution = parameter.distribution
    if isinstance(distribution, CategoricalDistribution):
        return float(distribution.choices.index(value))
    return float(value)


def _scale(axis: Any, parameter: Hyperparameter) -> None:
    distribution: Any = parameter.distribution
    if isinstance(distribution, CategoricalDistribution):
        axis.set_yticks(range(len(distribution.choices)), [str(choice) for choice in distribution.choices])
    elif distribution.log:
        axis.set_yscale("log")
