"""Learning curves of several runs in one picture."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from metalearn.recording.comparison.groups import Group, group_runs, varying
from metalearn.recording.comparison.runs import Run
from metalearn.recording.plots.style import COLOURS, LINES, pyplot, saved, score_ticks

MOST = len(COLOURS) * len(LINES)  # lines that differ in colour or style


def learning_curves(runs: Sequence[Run], path: Path) -> Path | None:
    """Draw the validation score over meta-steps: a line for each configuration, with a band over its seeds.

    Each problem (data set, way, shot) has its own panel.

    Returns:
        The path; None where no run has a validation score.
    """
    groups = [group for group in group_runs(runs) if any(run.curve for run in group.runs)]
    if not groups:
        return None
    plt = pyplot()
    titled = ("data", "way", "shot")  # in the titles of the panels
    names = [name for name in varying([run for group in groups for run in group.runs]) if name not in titled]
    problems = list(dict.fromkeys(group.problem for group in groups))
    size = (8.5, 3.6 * len(problems))
    figure, axes = plt.subplots(len(problems), 1, figsize=size, layout="constrained", squeeze=False)
    labels = list(dict.fromkeys(_label(group, names) for group in groups))  # a label has one style in all panels
    for axis, problem in zip(axes[:, 0], problems, strict=True):
        own = [group for group in groups if group.problem == problem]
        for group in own:
            steps, means, low, high = _band(group)
            i = labels.index(_label(group, names)) % MOST
            look = {"color": COLOURS[i % len(COLOURS)], "linestyle": LINES[i // len(COLOURS)]}
            axis.plot(steps, means, label=_label(group, names), marker="o" if len(steps) < 12 else "", ms=3, **look)
            if len(group.runs) > 1:
                axis.fill_between(steps, low, high, color=look["color"], alpha=0.15, linewidth=0)
        result, objective = own[0].results[0], own[0].objective
        title = f"{result['data']}, {objective.task_words(result['way'], result['shot'])}"
        axis.set(title=title, xlabel="meta-step", ylabel=f"validation {objective.name}")
        score_ticks(axis, objective)
        axis.grid(alpha=0.25)
        axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8, frameon=False)
    seeds = max(len(group.runs) for group in groups)
    if seeds > 1:
        figure.suptitle("mean over seeds, with the range of the seeds", fontsize=9)
    return saved(figure, path)


def _band(group: Group) -> tuple[list[int], list[float], list[float], list[float]]:
    """Meta-steps that all runs of the group have, with the mean, smallest and largest score at each."""
    curves = [dict(run.curve) for run in group.runs if run.curve]
    steps = [step for step in curves[0] if all(step in curve for curve in curves)]
    values = [[curve[step] for curve in curves if math.isfinite(curve[step])] or [math.nan] for step in steps]
    return steps, [fmean(v) for v in values], [min(v) for v in values], [max(v) for v in values]


def _label(group: Group, names: Sequence[str]) -> str:
    words = [str(group.settings.get(n)) if n in ("algo", "model") else f"{n}={group.settings.get(n)}" for n in names]
    return ", ".join(words) + (f" ({len(group.runs)} seeds)" if len(group.runs) > 1 else "") or group.runs[0].name
