"""The scores of a study's trials: one after the other, and over each setting."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metalearn.recording.plots.style import COLOURS, saved, whole_steps
from metalearn.search.columns import headings
from metalearn.search.plots.scale import Scale
from metalearn.search.plots.shown import COLOUR, DONE, FAILED, Shown, new_figure, score_axis, shown, title, winner, word
from metalearn.search.space import Hyperparameter
from metalearn.search.study import Study

_ROW = 3  # panels in a row


def history(study: Study, path: Path) -> Path:
    """Draw the score of each trial and the best so far, and return the file."""
    trials = shown(study)
    figure, axes = new_figure(8.5, 4.5)
    axis = axes[0][0]
    _points(axis, study, [(trial.number, trial) for trial in trials])
    done = [trial for trial in trials if trial.kind == DONE and trial.score is not None]
    so_far, steps = math.nan, []
    for trial in done:
        better = max if study.goals[0].maximize else min
        so_far = trial.score if math.isnan(so_far) else better(so_far, trial.score)  # type: ignore[assignment, type-var]
        steps.append((trial.number, so_far))
    if done:
        steps.append((trials[-1].number, so_far))
        axis.plot(*zip(*steps, strict=True), color=COLOURS[2], lw=1.5, drawstyle="steps-post", label="best so far")
    for index, trial in enumerate(trial for trial in trials if trial.kind == FAILED):
        label = FAILED if index == 0 else None
        axis.plot(trial.number, 0, "|", color=COLOUR[FAILED], ms=10, transform=axis.get_xaxis_transform(), label=label)
    whole_steps(axis)
    axis.set(xlabel="trial", title=title(study, trials))
    score_axis(axis, study)
    _finish(figure, axes)
    return saved(figure, path)


def slices(study: Study, path: Path, parameters: Sequence[Hyperparameter]) -> Path:
    """Draw the scores over each hyperparameter, and return the file."""
    trials, columns = shown(study), min(_ROW, len(parameters))
    rows = math.ceil(len(parameters) / columns)
    figure, axes = new_figure(3.4 * columns + 0.8, 2.9 * rows + 0.6, rows, columns, sharey=True)
    names = headings([parameter.name for parameter in study.space.hyperparameters])
    found = dict(zip((parameter.name for parameter in study.space.hyperparameters), names, strict=True))
    for axis, parameter in zip(axes.ravel(), parameters, strict=False):
        scale = Scale(parameter)
        there = [trial for trial in trials if parameter.name in trial.settings]
        _points(axis, study, [(scale.beside(t.settings[parameter.name], t.number), t) for t in there])
        scale.label(axis, found[parameter.name])
    for axis in axes.ravel()[len(parameters) :]:
        axis.axis("off")
    for row in axes:
        score_axis(row[0], study)
        row[0].set_ylabel(study.goals[0].name)
    figure.suptitle(title(study, trials), fontsize=11)
    _finish(figure, axes)
    return saved(figure, path)


def _points(axis: Any, study: Study, places: Sequence[tuple[float, Shown]]) -> None:
    """Draw a point for each trial with a score, and a star around the best."""
    first = winner(study)
    for kind, colour in COLOUR.items():
        points = [(x, trial.score) for x, trial in places if trial.kind == kind and trial.score is not None]
        if points and kind != FAILED:
            face = colour if kind == DONE else "none"
            axis.scatter(*zip(*points, strict=True), s=26, facecolors=face, edgecolors=colour, linewidths=1.1, zorder=3,
                         alpha=0.85, label=word(kind, study))  # fmt: skip
    for x, trial in places:
        if trial.number == first:
            axis.scatter([x], [trial.score], s=150, marker="*", color=COLOURS[2], edgecolors="black", linewidths=0.6,
                         zorder=4, label=f"the best, trial {first}")  # fmt: skip


def _finish(figure: Any, axes: Any) -> None:
    """Add a grid, and one legend for all panels."""
    entries: dict[str, Any] = {}
    for axis in axes.ravel():
        axis.grid(alpha=0.25)
        entries |= {label: handle for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
