"""All settings of all trials at once: an axis for each setting, a line for each trial."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metalearn.recording.plots.style import saved
from metalearn.search.columns import headings
from metalearn.search.plots.scale import Scale
from metalearn.search.plots.shown import DONE, new_figure, of, shown, winner
from metalearn.search.space import Hyperparameter
from metalearn.search.study import Study

_PALE, _DARK, _BEST = 0.25, 1.0, "#D55E00"  # shares of the colour map; colour of the best trial
_BOX = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}


def parallel(study: Study, path: Path, parameters: Sequence[Hyperparameter]) -> Path:
    """Draw the trials that trained to their end, darker the better, and return the file.

    Args:
        parameters: that exist in all of these trials.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.ticker import PercentFormatter

    goal, best = study.goals[0], winner(study)
    done = [(trial, trial.score) for trial in shown(study) if trial.kind == DONE and trial.score is not None]
    done.sort(key=lambda pair: pair[1], reverse=not goal.maximize)
    low, high = min(score for _, score in done), max(score for _, score in done)
    colours = [colormaps["Blues"](_PALE + (_DARK - _PALE) * i / 255) for i in range(256)]
    if not goal.maximize:
        colours.reverse()
    shade: Any = ScalarMappable(Normalize(low, high), LinearSegmentedColormap.from_list("scores", colours))
    scales = [Scale(parameter) for parameter in parameters]
    figure, axes = new_figure(max(6.0, 1.9 * len(parameters) + 1.5), 4.5)
    axis = axes[0][0]
    for trial, score in done:
        heights = [scale.share(trial.settings[p.name]) for scale, p in zip(scales, parameters, strict=True)]
        mine = trial.number == best
        axis.plot(range(len(scales)), heights, color=_BEST if mine else shade.to_rgba(score), lw=2.2 if mine else 1.3,
                  zorder=3 if mine else 2, label=f"the best, trial {best}" if mine else None)  # fmt: skip
    for x, scale in enumerate(scales):
        axis.axvline(x, color="black", lw=0.8, zorder=1)
        for value, text in scale.ticks():
            axis.text(x - 0.03, scale.share(value), text, ha="right", va="center", fontsize=8, bbox=_BOX, zorder=4)
    names = headings([parameter.name for parameter in study.space.hyperparameters])
    found = dict(zip((parameter.name for parameter in study.space.hyperparameters), names, strict=True))
    axis.set_xticks(range(len(scales)), [_folded(found[p.name]) for p in parameters])
    axis.set(ylim=(-0.05, 1.05), xlim=(-0.45, len(scales) - 0.85), yticks=[],
             title=f"{of(study)}settings of the {len(done)} complete trials")  # fmt: skip
    axis.tick_params(length=0)
    for side in axis.spines.values():
        side.set_visible(False)
    percent: Any = PercentFormatter(xmax=1) if goal.name.endswith("accuracy") else None
    figure.colorbar(shade, ax=axis, label=goal.name, format=percent)
    figure.legend(loc="outside lower center", frameon=False, fontsize=8)
    return saved(figure, path)


def _folded(name: str) -> str:
    """Break a long dotted name into two lines, of lengths as equal as possible."""
    parts = name.split(".")
    if len(name) <= 14 or len(parts) == 1:
        return name
    pairs = [(".".join(parts[:i]) + ".", ".".join(parts[i:])) for i in range(1, len(parts))]
    return "\n".join(min(pairs, key=lambda pair: max(map(len, pair))))
