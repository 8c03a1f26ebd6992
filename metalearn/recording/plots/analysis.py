"""Picture analysis.png: rapid learning or feature reuse, as scores with frozen layers and CKA of each layer."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metalearn.algorithms.objective import objective_of
from metalearn.recording.analysis import labels, layer_names, title
from metalearn.recording.plots.style import PLAIN, look, pyplot, saved, score_ticks

_SHIFT = 0.05  # of a layer, between the intervals of two learners
_LETTER = 0.085  # inches: the width of a letter of a tick


def analysis(results: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Draw the score against the number of frozen layers, and the CKA of each layer before and after adaptation.

    Each learner is a line with 95% intervals. For a single one, the scores with one layer alone frozen are added.

    Args:
        results: the content of result.json of each analysis.
        path: of the picture.
    """
    names = layer_names(results)
    size = (max(11.0, 0.9 * len(names) + 4), 4.6)
    figure, (left, right) = pyplot().subplots(1, 2, figsize=size, layout="constrained")
    objective, several = objective_of(results[0]), len(results) > 1
    for number, (result, label) in enumerate(zip(results, labels(results), strict=True)):
        shift = _SHIFT * (number - (len(results) - 1) / 2)
        first = [{"score": result[f"test_{objective.name}"], "ci95": result["test_ci95"]}]
        first += [layer["frozen_up_to"] for layer in result["layers"]]
        name = label if several else "this layer and all before it frozen"
        _line(left, [n + shift for n in range(len(first))], first, "score", "ci95", **look(number), label=name)
        similar = [n + 1 + shift for n in range(len(result["layers"]))]
        _line(right, similar, result["layers"], "cka", "cka_ci95", **look(number), label=label)
    if not several:
        alone = [layer["frozen_alone"] for layer in results[0]["layers"]]
        style = {**look(1), "linestyle": "none", "markerfacecolor": "white", "label": "this layer alone frozen"}
        _line(left, [n + 1 + 2 * _SHIFT for n in range(len(alone))], alone, "score", "ci95", **style)
    ways = {result["way"] for result in results}
    if objective.bounded and len(ways) == 1:
        left.axhline(1 / ways.pop(), color=PLAIN, linestyle=":", label="chance")
    score_ticks(left, objective)
    left.set(title=f"{objective.name} after adaptation with frozen layers", ylabel=objective.name)
    left.set_xlabel("number of frozen layers, from the input, and the last of them" if several else "frozen layers")
    right.set(title="outputs before and after adaptation", ylabel="linear CKA", xlabel="layer", ylim=(0, 1.05))
    room = (size[0] / 2 - 0.9) / (len(names) + 1)
    turned = {"rotation": 45, "ha": "right"} if _LETTER * max(map(len, names)) > room else {}
    between = ": " if turned else "\n"
    numbered = [str(n) if name == str(n) else f"{n}{between}{name}" for n, name in enumerate(["none", *names])]
    left.set_xticks(range(len(names) + 1), numbered, **turned)
    right.set_xticks(range(1, len(names) + 1), names, **turned)
    for axis in (left, right):
        axis.grid(alpha=0.25)
    left.legend(fontsize=8)
    figure.suptitle(f"{title(results)}, with 95% intervals over tasks", fontsize=10)
    return saved(figure, path)


def _line(
    axis: Any, x: Sequence[float], entries: Sequence[Mapping[str, Any]], value: str, ci95: str, **style: Any
) -> None:
    """Draw entries with their intervals; those without a value are left out."""
    means = [math.nan if entry[value] is None else entry[value] for entry in entries]
    widths = [width if (width := entry[ci95]) is not None and math.isfinite(width) else 0.0 for entry in entries]
    axis.errorbar(x, means, yerr=widths, capsize=3, **style)
