"""The picture of a population: the settings of its members over the meta-steps, and those that led to the winner."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metalearn.recording.plots.style import COLOURS, saved, whole_steps
from metalearn.search.columns import headings
from metalearn.search.plots.scale import Scale
from metalearn.search.plots.shown import new_figure, shown, title
from metalearn.search.records import TRACE, number, schedule
from metalearn.search.results import best
from metalearn.search.study import Study


def population(study: Study, path: Path) -> Path:
    """Draw a panel for each hyperparameter, and return the file.

    Args:
        study: of a population, with a finished trial.
        path: of the file.
    """
    parameters = study.space.hyperparameters
    figure, axes = new_figure(4.6 * len(parameters) + 0.6, 4.0, columns=len(parameters))
    names = headings([parameter.name for parameter in parameters])
    winner = next(iter(best(study, 1)), None)
    for axis, parameter, name in zip(axes[0], parameters, names, strict=True):
        scale = Scale(parameter)
        for trial in study.latest().values():
            parts = _parts(trial.user_attrs.get(TRACE, []), parameter.name, trial.last_step)
            _draw(axis, scale, parts, color=COLOURS[0], alpha=0.55, lw=1.2)
        if winner is not None:
            parts = _parts(schedule(winner), parameter.name, winner.last_step)
            _draw(axis, scale, parts, color=COLOURS[1], lw=2.4, label=f"led to trial {number(winner)}")
        ticks = scale.ticks()
        axis.set_yticks([scale.place(value) for value, _ in ticks], [text for _, text in ticks])
        axis.set(xlabel="meta-step", ylabel=name)
        whole_steps(axis)
        axis.grid(alpha=0.25)
    handles, labels = axes[0][0].get_legend_handles_labels()
    if handles:  # one of its stretches stands for all
        figure.legend(handles[:1], [f"{labels[0]}, the winner"], loc="outside lower center", frameon=False, fontsize=8)
    figure.suptitle(f"{title(study, shown(study))}: the settings that they were trained with", fontsize=11)
    return saved(figure, path)


def _draw(axis: Any, scale: Scale, parts: Sequence[tuple[int, int, Any]], **look: Any) -> None:
    """Draw the stretches of a setting."""
    for start, stop, value in parts:
        axis.plot([start, stop], [scale.place(value)] * 2, solid_capstyle="butt", **look)


def _parts(trace: Sequence[tuple[int, Mapping[str, Any]]], name: str, end: int | None) -> list[tuple[int, int, Any]]:
    """Return the stretches of a setting: their first step, their last one, and the value."""
    stops = [int(step) for step, _ in trace[1:]] + [end or 0]
    return [(int(step), stop, found[name]) for (step, found), stop in zip(trace, stops, strict=False)]
