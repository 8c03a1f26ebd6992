"""Learning curves of several runs in one picture."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from metalearn.recording.comparison.groups import Group, group_runs, spelled, varying
from metalearn.recording.comparison.runs import Run
from metalearn.recording.plots.style import COLOURS, LINES, PLAIN, pyplot, saved, score_ticks

PANELS = 6  # data sets, ways and shots in one picture
CURVES = 8  # with a name, in one panel; others are grey
_NAME = 44  # letters in a line of the legend
_IN_TITLE = ("data", "way", "shot")  # settings in the titles of the panels
_PANEL_WIDTH, _PANEL_HEIGHT, _LEGEND_WIDTH = 6.4, 3.4, 3.9  # inches


def learning_curves(runs: Sequence[Run], path: Path) -> Path | None:
    """Draw the validation score over meta-steps: a line for each configuration, with a band over its seeds.

    Each problem (data set, way, shot) has its own panel. The best configurations of a panel have a colour and a name.
    A configuration that several panels share has one colour, whatever the number of its seeds.

    Returns:
        The path; None where no run has a validation score.
    """
    groups = [group for group in group_runs(runs) if any(run.curve for run in group.runs)]
    if not groups:
        return None
    problems = list(dict.fromkeys(group.problem for group in groups))
    panels = [[group for group in groups if group.problem == problem] for problem in problems[:PANELS]]
    names = [name for name in varying([run for group in groups for run in group.runs]) if name not in _IN_TITLE]
    looks = _looks([group for panel in panels for group in panel[:CURVES]], names)
    plt = pyplot()
    size = (_PANEL_WIDTH + _LEGEND_WIDTH, _PANEL_HEIGHT * len(panels) + 0.5)
    figure, axes = plt.subplots(len(panels), 1, figsize=size, squeeze=False)
    # Margins in inches: an automatic layout would give the legends room first, and none to the panels
    figure.subplots_adjust(left=0.8 / size[0], right=_PANEL_WIDTH / size[0], bottom=0.55 / size[1],
                           top=1 - 0.75 / size[1], hspace=0.42)  # fmt: skip
    for axis, panel in zip(axes[:, 0], panels, strict=True):
        _panel(axis, panel, names, looks)
    notes = ["mean over seeds, with the range of the seeds"] if any(len(g.results) > 1 for g in groups) else []
    if left := len(problems) - len(panels):
        notes.append(f"{left} more combinations of data, way and shot are not drawn")
    figure.suptitle("; ".join(notes), fontsize=9, x=0.8 / size[0], ha="left", y=1 - 0.15 / size[1], va="top")
    return saved(figure, path)


def _panel(axis: Any, panel: Sequence[Group], names: Sequence[str], looks: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw the curves of one problem, the best first in the legend."""
    for place, group in reversed(list(enumerate(panel))):  # the best on top
        steps, means, low, high = _band(group)
        marker = "o" if len(steps) < 12 else ""
        if place >= CURVES:
            label = f"{len(panel) - CURVES} more, behind these by validation" if place == CURVES else None
            axis.plot(steps, means, color=PLAIN, alpha=0.4, linewidth=0.8, label=label, marker=marker, ms=2)
            continue
        look = looks[_key(group, names)]
        axis.plot(steps, means, label=_label(group, names), marker=marker, ms=3, **look)
        if len(group.results) > 1:
            axis.fill_between(steps, low, high, color=look["color"], alpha=0.15, linewidth=0)
    result, objective = panel[0].results[0], panel[0].objective
    axis.set(xlabel="meta-step", ylabel=f"validation {objective.name}")
    axis.set_title(f"{result['data']}, {objective.task_words(result['way'], result['shot'])}", fontsize=10)
    score_ticks(axis, objective)
    axis.grid(alpha=0.25)
    handles, labels = axis.get_legend_handles_labels()
    axis.legend(handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(1.01, 1.02), fontsize=7.5, frameon=False)


def _looks(groups: Sequence[Group], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and line style of each configuration; they repeat only after all combinations are used."""
    keys = dict.fromkeys(_key(group, names) for group in groups)
    looks = [{"color": colour, "linestyle": line} for line in LINES for colour in COLOURS]
    return {key: looks[i % len(looks)] for i, key in enumerate(keys)}


def _key(group: Group, names: Sequence[str]) -> str:
    """The settings of a configuration, without the seed and without those in the titles of the panels."""
    return spelled([group.settings.get(name) for name in names])


def _band(group: Group) -> tuple[list[int], list[float], list[float], list[float]]:
    """Meta-steps that all runs of the group have, with the mean, smallest and largest score at each."""
    curves = [dict(run.curve) for run in group.runs if run.curve]
    steps = [step for step in curves[0] if all(step in curve for curve in curves)]
    values = [[curve[step] for curve in curves if math.isfinite(curve[step])] or [math.nan] for step in steps]
    return steps, [fmean(v) for v in values], [min(v) for v in values], [max(v) for v in values]


def _label(group: Group, names: Sequence[str]) -> str:
    """The settings of a configuration as a name; a long one is cut, and the run is named then."""
    words = [str(group.settings.get(n)) if n in ("algo", "model") else f"{n}={group.settings.get(n)}" for n in names]
    seeds = f" ({len(group.results)} seeds)" if len(group.results) > 1 else ""
    text = ", ".join(words) + seeds or group.runs[0].name
    lines = textwrap.wrap(text, _NAME)
    if len(lines) > 2:
        run = group.runs[0].name
        lines = [lines[0].rstrip(",") + ", ...", f"({run if len(run) <= _NAME else '...' + run[3 - _NAME :]}){seeds}"]
    return "\n".join(lines)
