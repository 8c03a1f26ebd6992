"""Pictures layers.png and rates.png: each layer's weights and learned inner rates over meta-steps."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metalearn.recording.plots.style import headline, look, plain_log, pyplot, saved, whole_steps

_PANELS = {
    "weights": "mean weight of each layer",
    "gamma": "mean of batch norm's gamma",
    "beta": "mean of batch norm's beta",
}


def layers(rows: Sequence[Mapping[str, Any]], result: Mapping[str, Any], path: Path) -> Path:
    """Draw each layer's mean weight, and its relative change by the inner loop.

    Each kind of weights has its own panel. Batch norm's gamma and beta of a layer have the same look.

    Args:
        rows: of layers.csv.
        result: the content of result.json; of a stopped run, its settings and its last metrics.
        path: of the picture.
    """
    plt = pyplot()
    own = [row for row in rows if row["kind"] != "rate"]
    names = list(dict.fromkeys(_layer(row) for row in own))
    kinds = dict.fromkeys(row["kind"] for row in own)
    panels = [*(kind for kind in _PANELS if kind in kinds), *(kind for kind in kinds if kind not in _PANELS)]
    columns = math.ceil(len(names) / 14)
    size = (4.6 * (len(panels) + 1) + 1.6 * columns, max(4.0, 0.2 * min(len(names), 14) + 1.2))
    figure, axes = plt.subplots(1, len(panels) + 1, figsize=size, layout="constrained")
    handles: dict[str, Any] = {}
    for name in dict.fromkeys(row["layer"] for row in own):
        found = [row for row in own if row["layer"] == name]
        layer, kind = _layer(found[0]), found[0]["kind"]
        style = look(names.index(layer))
        means = [(row["step"], row["mean_weight"]) for row in found]
        (handles[layer],) = axes[panels.index(kind)].plot(*zip(*means, strict=True), **style, label=layer)
        moved = [(row["step"], row["relative_change"]) for row in found if row["relative_change"] not in ("", 0.0)]
        if moved:  # beta is hollow, where gamma has the same look
            axes[-1].plot(
                *zip(*moved, strict=True), **style, **({"markerfacecolor": "white"} if kind == "beta" else {})
            )
    for axis, kind in zip(axes, panels, strict=False):
        axis.set(title=_PANELS.get(kind, f"mean of {kind}"), xlabel="meta-step", ylabel="mean")
    about = "change by the inner loop"
    axes[-1].set(
        title=f"{about} (hollow: beta)" if "beta" in panels else about,
        xlabel="meta-step",
        ylabel="RMS of the change / RMS of the weights",
    )
    plain_log(axes[-1])
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.set_xlim(*_limits(own))
        whole_steps(axis)
    if handles:
        figure.legend(handles.values(), handles, loc="outside right upper", fontsize=8, ncols=columns)
    figure.suptitle(headline(result))
    return saved(figure, path)


def _layer(row: Mapping[str, Any]) -> str:
    """The layer of a row, without the part of batch norm that the row is of."""
    return str(row["layer"]).removesuffix(f".{row['kind']}")


def _limits(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Limits of the meta-steps, from the beginning of the training, so that all panels show the same ones."""
    last = max((row["step"] for row in rows), default=1)
    return -0.03 * max(1, last), 1.03 * max(1, last)


def rates(rows: Sequence[Mapping[str, Any]], result: Mapping[str, Any], path: Path) -> Path:
    """Draw each layer's mean learned inner rate. Arguments are those of `layers`."""
    plt = pyplot()
    own = [row for row in rows if row["kind"] == "rate"]
    names = list(dict.fromkeys(row["layer"] for row in own))
    figure, axis = plt.subplots(figsize=(9, max(4.0, 0.2 * min(len(names), 14) + 1.2)), layout="constrained")
    for i, name in enumerate(names):
        found = [row for row in own if row["layer"] == name]
        axis.plot(
            [row["step"] for row in found],
            [row["mean_weight"] for row in found],
            **look(i),
            label=name.removeprefix("rate."),
        )
    axis.set(title="learned inner rates", xlabel="meta-step", ylabel="mean rate of a layer")
    axis.grid(alpha=0.25)
    whole_steps(axis)
    figure.legend(loc="outside right center", fontsize=8, ncols=math.ceil(len(names) / 14))
    figure.suptitle(textwrap.fill(headline(result), 70))
    return saved(figure, path)
