"""The importance of each setting, and the trials that no other beats in all objectives."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna

from metalearn.recording.plots.style import COLOURS, saved
from metalearn.search.columns import headings
from metalearn.search.plots.shown import GREY, new_figure, of, score_axis
from metalearn.search.records import number
from metalearn.search.results import best, pareto_front
from metalearn.search.study import Study


def importances(study: Study, path: Path, whole: optuna.Study, names: Sequence[str]) -> Path:
    """Draw how much of the variation of the score each hyperparameter explains, by Optuna, and return the file.

    Args:
        whole: the study with one record a trial.
        names: hyperparameters that exist in all trials and vary.
    """
    found: Mapping[str, float] = optuna.importance.get_param_importances(whole, params=list(names))
    everything = [parameter.name for parameter in study.space.hyperparameters]
    short = dict(zip(everything, headings(everything), strict=True))
    ordered = sorted(found.items(), key=lambda pair: pair[1])
    rows, shares = [short[name] for name, _ in ordered], [share for _, share in ordered]
    figure, axes = new_figure(7.0, 0.42 * len(ordered) + 1.3)
    axis = axes[0][0]
    bars = axis.barh(rows, shares, color=COLOURS[0], height=0.6)
    axis.bar_label(bars, [f"{share:.0%}" for share in shares], padding=3, fontsize=8)
    axis.set(xlim=(0, 1.12 * max(shares)), xticks=[])
    axis.set_title(f"{of(study)}importance of each setting for {study.goals[0].name}")
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)
    return saved(figure, path)


def pareto(study: Study, path: Path) -> Path:
    """Draw two objectives against each other, and return the file."""
    front = sorted((t.values[0], t.values[1], number(t)) for t in pareto_front(study))
    on_it = {entry[2] for entry in front}
    others = [(t.values[0], t.values[1]) for t in best(study) if number(t) not in on_it]
    figure, axes = new_figure(7.5, 4.8)
    axis = axes[0][0]
    if others:
        axis.scatter(*zip(*others, strict=True), s=24, facecolors="none", edgecolors=GREY, label="other trials")
    axis.plot([x for x, *_ in front], [y for _, y, _ in front], "o--", color=COLOURS[0], ms=6, lw=1,
              label="Pareto front, with the numbers of its trials")  # fmt: skip
    for x, y, trial in front:
        axis.annotate(str(trial), (x, y), xytext=(5, 5), textcoords="offset points", fontsize=8)
    score_axis(axis, study, 0, "x")
    score_axis(axis, study, 1, "y")
    axis.margins(0.08)
    axis.set(title=f"{of(study)}{len(front)} of {len(front) + len(others)} trials are on the Pareto front")
    axis.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return saved(figure, path)
