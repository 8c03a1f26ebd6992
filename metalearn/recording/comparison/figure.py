"""Learning curves of several runs in one picture."""

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from metalearn.recording.comparison.groups import Group, group_runs, needed, place_of, varying
from metalearn.recording.comparison.runs import ROLE, Run
from metalearn.recording.comparison.table import stated
from metalearn.recording.plots.style import COLOURS, LINES, PLAIN, pyplot, saved, score_ticks, whole_steps

PANELS = 6  # data sets, ways and shots in one picture
CURVES = 8  # with a name, in one panel; others are grey
_LETTERS, _LINES = 46, 3  # in a name of the legend
_IN_TITLE = ("data", "way", "shot")  # settings in the titles of the panels
_PANEL_WIDTH, _PANEL_HEIGHT, _LEGEND_WIDTH = 6.4, 3.4, 3.9  # inches
_LEFT, _BOTTOM, _TOP = 0.8, 0.55, 0.75  # margins in inches: an automatic layout would give the legends room first


def learning_curves(runs: Sequence[Run], path: Path) -> Path | None:
    """Draw the validation score over meta-steps: a line for each configuration, with a band over its seeds.

    Each problem (data set, split, way, shot) has its own panel. The best configurations of a panel have a colour and a
    name, which holds the settings that differ in this panel. A configuration that several panels share has one colour,
    whatever the number of its seeds.

    Returns:
        The path; None where no run has a validation score.
    """
    groups = [group for group in group_runs(runs) if any(run.curve for run in group.runs)]
    if not groups:
        return None
    problems = list(dict.fromkeys(group.problem for group in groups))
    panels = [[group for group in groups if group.problem == problem] for problem in problems[:PANELS]]
    looks = _looks(panels, varying([run for group in groups for run in group.runs]))
    size = (_PANEL_WIDTH + _LEGEND_WIDTH, _PANEL_HEIGHT * len(panels) + 0.5)
    figure, axes = pyplot().subplots(len(panels), 1, figsize=size, squeeze=False)
    low, high = _BOTTOM / size[1], 1 - _TOP / size[1]
    figure.subplots_adjust(left=_LEFT / size[0], right=_PANEL_WIDTH / size[0], bottom=low, top=high, hspace=0.42)
    for axis, panel, title in zip(axes[:, 0], panels, _titles(panels), strict=True):
        _panel(axis, panel, looks)
        axis.set_title(title, fontsize=10)
    notes = ["mean over seeds, with the range of the seeds"] if any(len(g.results) > 1 for g in groups) else []
    if left := len(problems) - len(panels):
        notes.append(f"{left} more combination{'s' * (left > 1)} of data, split, way and shot: not drawn")
    figure.suptitle("; ".join(notes), fontsize=9, x=_LEFT / size[0], ha="left", y=1 - 0.15 / size[1], va="top")
    return saved(figure, path)


def _panel(axis: Any, panel: Sequence[Group], looks: Mapping[int, Mapping[str, Any]]) -> None:
    """Draw the curves of one problem, the best first in the legend."""
    names = _labels(panel[:CURVES])
    for place, group in reversed(list(enumerate(panel))):  # the best on top
        steps, means, low, high = _band(group)
        marker = "o" if len(steps) < 12 else ""
        if place >= CURVES:
            label = f"{len(panel) - CURVES} more, behind these by validation" if place == CURVES else None
            axis.plot(steps, means, color=PLAIN, alpha=0.4, linewidth=0.8, label=label, marker=marker, ms=2)
            continue
        look = looks[id(group)]
        axis.plot(steps, means, label=names[place], marker=marker, ms=3, **look)
        if len(group.results) > 1 and len(steps) == 1:  # a band would have no width
            axis.vlines(steps, low, high, color=look["color"], alpha=0.5)
        elif len(group.results) > 1:
            axis.fill_between(steps, low, high, color=look["color"], alpha=0.15, linewidth=0)
    objective = panel[0].objective
    axis.set(xlabel="meta-step", ylabel=f"validation {objective.name}")
    score_ticks(axis, objective)
    whole_steps(axis)
    axis.grid(alpha=0.25)
    handles, labels = axis.get_legend_handles_labels()
    axis.legend(handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(1.01, 1.02), fontsize=7.5, frameon=False)


def _titles(panels: Sequence[Sequence[Group]]) -> list[str]:
    """The data set, way, shot and role of each panel, and its split where another panel has the same of these."""
    results = [panel[0].results[0] for panel in panels]
    words = [panel[0].objective.task_words(r["way"], r["shot"]) for panel, r in zip(panels, results, strict=True)]
    titles = [f"{result['data']}, {task}" for result, task in zip(results, words, strict=True)]
    splits = {(title, result.get("split")) for title, result in zip(titles, results, strict=True)}
    several = Counter(title for title, _ in splits)
    titles = [
        f"{title}, split {result.get('split')}" if several[title] > 1 else title
        for title, result in zip(titles, results, strict=True)
    ]
    return [title + f", {panel[0].role}" * bool(panel[0].role) for title, panel in zip(titles, panels, strict=True)]


def _looks(panels: Sequence[Sequence[Group]], names: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Colour and line style of each named configuration, by its id: the same for the same settings in other panels.

    They repeat only after all combinations are used.
    """
    looks = [{"color": colour, "linestyle": line} for line in LINES for colour in COLOURS]
    numbers: dict[tuple[tuple[str, ...], int], int] = {}
    found = {}
    for panel in panels:
        times: Counter[tuple[str, ...]] = Counter()  # several configurations: the code was changed
        for group in panel[:CURVES]:
            key = place_of(group.settings, [name for name in names if name not in (ROLE, *_IN_TITLE)])
            number = numbers.setdefault((key, times[key]), len(numbers))
            times[key] += 1
            found[id(group)] = looks[number % len(looks)]
    return found


def _band(group: Group) -> tuple[list[int], list[float], list[float], list[float]]:
    """Meta-steps that all runs of the group have, with the mean, smallest and largest score at each."""
    curves = [dict(run.curve) for run in group.runs if run.curve]
    steps = [step for step in curves[0] if all(step in curve for curve in curves)]
    values = [[curve[step] for curve in curves if math.isfinite(curve[step])] or [math.nan] for step in steps]
    return steps, [fmean(v) for v in values], [min(v) for v in values], [max(v) for v in values]


def _labels(groups: Sequence[Group]) -> list[str]:
    """The names of some configurations in a legend: the settings that differ between these.

    Where a name is too long, only settings that are needed to distinguish the configurations. A name that is still too
    long is cut. Where it is cut, empty or not unique, it ends in the name of a run.
    """
    names = [name for name in varying([run for group in groups for run in group.runs]) if name not in _IN_TITLE]
    if any(len(_wrapped(words)) > _LINES for words in _stated(groups, names)):
        names = needed(names, [group.settings for group in groups])
    labels, found = _stated(groups, names), []
    for group, label in zip(groups, labels, strict=True):
        lines, run = _wrapped(label), group.runs[0].name
        run = run if len(run) <= _LETTERS - 2 else f"...{run[5 - _LETTERS :]}"
        if len(lines) > _LINES:
            lines = [*lines[: _LINES - 2], lines[_LINES - 2].rstrip(",") + ", ...", f"({run})"]
        elif not label or labels.count(label) > 1:
            lines.append(f"({run})" if label else run)
        seeds = f" ({len(group.results)} seeds)" if len(group.results) > 1 else ""
        found.append("\n".join(lines) + seeds)
    return found


def _stated(groups: Sequence[Group], names: Sequence[str]) -> list[str]:
    """State these settings of each configuration; one that it lacks only if the text would not be unique."""

    def text(settings: Mapping[str, Any], names: Sequence[str]) -> str:
        return ", ".join(str(settings[n]) if n in ("algo", "model") else stated(n, settings) for n in names)

    own = [text(group.settings, [name for name in names if name in group.settings]) for group in groups]
    whole = [text(group.settings, names) for group in groups]
    return [long if not short or own.count(short) > 1 else short for short, long in zip(own, whole, strict=True)]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _LETTERS, break_on_hyphens=False)
