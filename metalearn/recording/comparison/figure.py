"""Learning curves of several runs in one picture."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from metalearn.recording.comparison.groups import Group, group_runs, varying
from metalearn.recording.comparison.runs import Run

# Okabe and Ito's colours, told apart by colour-blind readers; then the line style changes
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", ":", "-.")
MOST = len(COLOURS) * len(STYLES)


def learning_curves(runs: Sequence[Run], path: Path) -> Path | None:
    """Draw the validation score over meta-steps, a line for each configuration with a band over its seeds.

    One panel for each problem (data set, way, shot). Returns None where no run was measured.
    """
    groups = [group for group in group_runs(runs) if any(run.curve for run in group.runs)]
    if not groups:
        return None
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import PercentFormatter

    said = ("data", "way", "shot")  # in the title
    names = [name for name in varying([run for group in groups for run in group.runs]) if name not in said]
    problems = list(dict.fromkeys(group.problem for group in groups))
    size = (8.5, 3.6 * len(problems))
    figure, axes = plt.subplots(len(problems), 1, figsize=size, layout="constrained", squeeze=False)
    labels = list(dict.fromkeys(_label(group, names) for group in groups))  # each looks alike in all panels
    for axis, problem in zip(axes[:, 0], problems, strict=True):
        for group in (group for group in groups if group.problem == problem):
            steps, means, low, high = _band(group)
            i = labels.index(_label(group, names)) % MOST
            look = {"color": COLOURS[i % len(COLOURS)], "linestyle": STYLES[i // len(COLOURS)]}
            axis.plot(steps, means, label=_label(group, names), marker="o" if len(steps) < 12 else "", ms=3, **look)
            if len(group.runs) > 1:
                axis.fill_between(steps, low, high, color=look["color"], alpha=0.15, linewidth=0)
        data, _, way, shot, measure = problem
        axis.set(title=f"{data}, {way}-way {shot}-shot", xlabel="meta-step", ylabel=f"validation {measure}")
        if measure == "accuracy":
            axis.yaxis.set_major_formatter(PercentFormatter(xmax=1))  # with as many digits as the ticks need
        axis.grid(alpha=0.25)
        axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8, frameon=False)
    seeds = max(len(group.runs) for group in groups)
    if seeds > 1:
        figure.suptitle("mean over seeds, with the range of the seeds", fontsize=9)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
    return path


def _band(group: Group) -> tuple[list[int], list[float], list[float], list[float]]:
    """Mean, smallest and largest score at the meta-steps that all runs of the group have."""
    curves = [dict(run.curve) for run in group.runs if run.curve]
    steps = [step for step in curves[0] if all(step in curve for curve in curves)]
    values = [[curve[step] for curve in curves if math.isfinite(curve[step])] or [math.nan] for step in steps]
    return steps, [fmean(v) for v in values], [min(v) for v in values], [max(v) for v in values]


def _label(group: Group, names: Sequence[str]) -> str:
    said = [str(group.settings.get(n)) if n in ("algo", "model") else f"{n}={group.settings.get(n)}" for n in names]
    return ", ".join(said) + (f" ({len(group.runs)} seeds)" if len(group.runs) > 1 else "") or group.runs[0].name
