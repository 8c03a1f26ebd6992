"""Pictures layers.png and rates.png: each layer's weights and learned inner rates over meta-steps."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metalearn.recording.plots.style import headline, look, pyplot, saved, whole_steps

_PANELS = {"weights": "mean weight of each layer", "norm": "mean of batch norm's gamma and beta"}


def layers(rows: Sequence[Mapping[str, Any]], result: Mapping[str, Any], path: Path) -> Path:
    """Draw each layer's mean weight, and its relative change by the inner loop.

    Args:
        rows: of layers.csv.
        result: the content of result.json; of a stopped run, its settings and its last metrics.
        path: of the picture.
    """
    plt = pyplot()
    own = [row for row in rows if row["kind"] != "rate"]
    names = list(dict.fromkeys(row["layer"] for row in own))
    panels = [kind for kind in _PANELS if any(row["kind"] == kind for row in own)]
    columns = math.ceil(len(names) / 14)
    size = (5 * (len(panels) + 1) + 1.6 * columns, max(4.0, 0.2 * min(len(names), 14) + 1.2))
    figure, axes = plt.subplots(1, len(panels) + 1, figsize=size, layout="constrained")
    for i, name in enumerate(names):
        found = [row for row in own if row["layer"] == name]
        axis = axes[panels.index(found[0]["kind"])]
        axis.plot([row["step"] for row in found], [row["mean_weight"] for row in found], **look(i), label=name)
        moved = [(row["step"], row["relative_change"]) for row in found if row["relative_change"] not in ("", 0.0)]
        if moved:
            axes[-1].plot(*zip(*moved, strict=True), **look(i))
    for axis, kind in zip(axes, panels, strict=False):
        axis.set(title=_PANELS[kind], xlabel="meta-step", ylabel="mean")
    axes[-1].set(title="relative change by the inner loop (validation tasks)", xlabel="meta-step",
                 ylabel="RMS of the change / RMS of the weights", yscale="log")  # fmt: skip
    for axis in axes:
        axis.grid(alpha=0.25)
        whole_steps(axis)
    handles = [entry for axis in axes[:-1] for entry in zip(*axis.get_legend_handles_labels(), strict=True)]
    if handles:
        figure.legend(*zip(*handles, strict=True), loc="outside right upper", fontsize=8, ncols=columns)
    figure.suptitle(headline(result))
    return saved(figure, path)


def rates(rows: Sequence[Mapping[str, Any]], result: Mapping[str, Any], path: Path) -> Path:
    """Draw each layer's mean learned inner rate. Arguments are those of `layers`."""
    plt = pyplot()
    own = [row for row in rows if row["kind"] == "rate"]
    names = list(dict.fromkeys(row["layer"] for row in own))
    figure, axis = plt.subplots(figsize=(9, max(4.0, 0.2 * min(len(names), 14) + 1.2)), layout="constrained")
    for i, name in enumerate(names):
        found = [row for row in own if row["layer"] == name]
        axis.plot([row["step"] for row in found], [row["mean_weight"] for row in found], **look(i),
                  label=name.removeprefix("rate."))  # fmt: skip
    axis.set(title="learned inner rates", xlabel="meta-step", ylabel="mean rate of a layer")
    axis.grid(alpha=0.25)
    whole_steps(axis)
    figure.legend(loc="outside right center", fontsize=8, ncols=math.ceil(len(names) / 14))
    figure.suptitle(textwrap.fill(headline(result), 70))
    return saved(figure, path)
