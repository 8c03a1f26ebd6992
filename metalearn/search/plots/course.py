"""The course of a study: the validation scores of its trials over their meta-steps, and its workers over time."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from metalearn.recording.plots.style import saved, whole_steps
from metalearn.search.plots.shown import (
    COLOUR,
    DONE,
    GREY,
    kind,
    new_figure,
    of,
    score_axis,
    shown,
    title,
    winner,
    word,
)
from metalearn.search.records import RUNG, WITHDRAWN, WORKER, number
from metalearn.search.study import Study

_NAMED = 8  # curves with the number of their trial
_GAP = 0.028  # height between two numbers, as a share of the axis
_UNITS = (("hours", 3600), ("minutes", 60), ("seconds", 1))
_WIDE = 0.018  # width of a bar with a number, as a share of the axis


def curves(study: Study, path: Path) -> Path:
    """Draw the validation score of every trial: who was paused, pruned or promoted. Return the file."""
    figure, axes = new_figure(8.5, 4.5)
    axis, labelled, ends = axes[0][0], set[str](), list[tuple[float, float, int]]()
    best = winner(study)
    for trial in study.latest().values():
        points = sorted(trial.intermediate_values.items())
        if not points:
            continue
        what = kind(trial)
        mine = number(trial) == best
        steps, scores = zip(*points, strict=True)
        colour, width = ("black", 2.0) if mine else (COLOUR[what], 1.2)
        text = f"the best, trial {best}" if mine else word(what, study)
        axis.plot(steps, scores, color=colour, lw=width, alpha=0.75, label=None if text in labelled else text)
        axis.plot(steps[-1], scores[-1], "o", color=colour, ms=4)
        labelled.add(text)
        if what == DONE:
            ends.append((scores[-1], steps[-1], number(trial)))
    for rung in sorted({r for b in study.competition.brackets for r in b.rungs[:-1]} if study.competition else ()):
        axis.axvline(rung, color=GREY, lw=0.8, ls=":")
    ends.sort(key=lambda end: end[0], reverse=study.goals[0].maximize)
    _numbers(axis, ends[:_NAMED], down=study.goals[0].maximize)
    promoted = len({number(trial) for trial in study.records() if RUNG in trial.user_attrs})
    whole_steps(axis)
    after = f"; {promoted} promoted" if study.competition else ""
    axis.set(xlabel="meta-step", title=f"{title(study, shown(study))}{after}")
    score_axis(axis, study)
    axis.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return saved(figure, path)


def _numbers(axis: Any, ends: Sequence[tuple[float, float, int]], down: bool) -> None:
    """Write the numbers of trials beside the ends of their curves, the best first, none over another.

    Args:
        down: True if the best are the highest.
    """
    from matplotlib.transforms import offset_copy

    low, high = axis.get_ylim()
    beside = offset_copy(axis.transData, axis.figure, x=6, units="points")
    gap, height = (_GAP * (high - low)) * (-1 if down else 1), None
    for score, step, trial in ends:
        height = score if height is None else (min if down else max)(score, height + gap)
        axis.text(step, height, str(trial), fontsize=7, va="center", transform=beside)


def timeline(study: Study, path: Path) -> Path:
    """Draw when each worker trained which trial, a bar for each rung and each retry, and return the file."""
    bars = [(trial, trial.datetime_start, trial.datetime_complete or datetime.now()) for trial in study.records()
            if trial.datetime_start is not None and WITHDRAWN not in trial.user_attrs]  # fmt: skip
    begin = min(start for _, start, _ in bars)
    whole = max((end - begin).total_seconds() for _, _, end in bars) or 1.0
    unit, seconds = next((u, s) for u, s in _UNITS if whole > 3 * s or s == 1)
    workers = sorted({str(trial.user_attrs.get(WORKER) or "nobody") for trial, *_ in bars})
    figure, axes = new_figure(10.0, 0.36 * len(workers) + 1.5)
    axis, labelled = axes[0][0], set[str]()
    for trial, start, end in bars:
        row, what = workers.index(str(trial.user_attrs.get(WORKER) or "nobody")), word(kind(trial), study)
        left, width = (start - begin).total_seconds() / seconds, (end - start).total_seconds() / seconds
        axis.barh(row, width, left=left, color=COLOUR[kind(trial)], edgecolor="white", height=0.7, lw=0.6,
                  label=None if what in labelled else what)  # fmt: skip
        labelled.add(what)
        text = str(number(trial))
        if width * seconds > _WIDE * whole * len(text) / 2:
            axis.text(left + width / 2, row, text, ha="center", va="center", fontsize=7, color="white")
    axis.set_yticks(range(len(workers)), workers)
    axis.set(xlabel=f"{unit} since the start", ylabel="worker", title=_session(study, bars))
    axis.set_xlim(0, whole / seconds * 1.01)
    axis.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return saved(figure, path)


def _session(study: Study, bars: Sequence[tuple[FrozenTrial, datetime, datetime]]) -> str:
    begin = min(start for _, start, _ in bars)
    trials = len({number(trial) for trial, *_ in bars})
    return f"{of(study)}{trials} trials by number, from {begin:%Y-%m-%d %H:%M}"
