"""Picture curves.png: loss and score over meta-steps, and score over inner steps."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metalearn.algorithms.objective import objective_of
from metalearn.recording.plots.style import (
    PLAIN,
    RIGHT,
    SUPPORT,
    headline,
    plain_log,
    pyplot,
    saved,
    score_ticks,
    whole_steps,
)
from metalearn.recording.summary import score_words


def curves(rows: Sequence[Mapping[str, float]], result: Mapping[str, Any], path: Path) -> Path:
    """Draw the losses, the scores and the adaptation curve.

    The panels show the training and validation loss, the training, validation and test score, and the test score after
    each inner step.

    Args:
        rows: of metrics.csv.
        result: the content of result.json; of a stopped run, its settings and its last metrics.
        path: of the picture.
    """
    plt = pyplot()
    objective, curve = objective_of(result), result.get("adaptation_curve", [])
    name = objective.name
    figure, axes = plt.subplots(1, 3 if curve else 2, figsize=(14 if curve else 9.5, 4), layout="constrained")
    left, middle = axes[:2]
    _losses(left, rows)
    held = [row for row in rows if f"val_{name}" in row]
    train, test = result["inner_steps_train"], result["inner_steps_test"]
    values = [(row["step"], row[f"train_{name}"]) for row in rows if f"train_{name}" in row]
    if values:
        middle.plot(*zip(*values, strict=True), **_plain(values), label=f"training tasks, after {_steps(train)}")
    bars = {"yerr": [row["val_ci95"] for row in held], "marker": "o", "markersize": 4, "capsize": 3, "color": SUPPORT}
    label = f"validation tasks, after {_steps(test)}"
    middle.errorbar([row["step"] for row in held], [row[f"val_{name}"] for row in held], label=label, **bars)
    if f"test_{name}" in result:
        middle.axhline(result[f"test_{name}"], color=RIGHT, linestyle="--", label=f"test {score_words(result, 'test')}")
    middle.set(title=f"{name} after adaptation", xlabel="meta-step", ylabel=name)
    if curve:
        _adaptation(axes[2], curve, result.get("adaptation_ci95"), train, name)
        limits = [f(axis.get_ylim()[i] for axis in (middle, axes[2])) for i, f in enumerate((min, max))]
        axes[2].sharey(middle)  # one axis of scores
        middle.set_ylim(limits)
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.legend(fontsize=8)
        whole_steps(axis)
    score_ticks(middle, objective)
    figure.suptitle(headline(result))
    return saved(figure, path)


def _losses(axis: Any, rows: Sequence[Mapping[str, float]]) -> None:
    values = [(row["step"], row["train_loss"]) for row in rows if "train_loss" in row]
    if values:
        axis.plot(*zip(*values, strict=True), **_plain(values), label="training tasks")
    held = [(row["step"], row["val_loss"]) for row in rows if "val_loss" in row]
    if held:
        axis.plot(*zip(*held, strict=True), marker="o", markersize=4, color=SUPPORT, label="validation tasks")
    axis.set(title="query loss", xlabel="meta-step", ylabel="loss")
    if all(value > 0 for _, value in [*values, *held]):
        plain_log(axis)


def _adaptation(axis: Any, curve: Sequence[float], ci95: Sequence[float] | None, trained: int, name: str) -> None:
    errors = [width if math.isfinite(width) else 0.0 for width in ci95 or []]
    bars: dict[str, Any] = {"yerr": errors} if len(errors) == len(curve) else {}
    label = "mean over test tasks" + (", with 95% interval" if bars else "")
    axis.errorbar(range(len(curve)), curve, marker="o", markersize=4, color=RIGHT, capsize=3, label=label, **bars)
    if 0 < trained < len(curve):
        axis.axvline(trained, color=PLAIN, linestyle=":", label=f"inner steps in training: {trained}")
    axis.set(title="adaptation on test tasks", xlabel="inner step", ylabel=name)


def _plain(values: Sequence[Any]) -> dict[str, Any]:
    return {"color": PLAIN, "marker": "o" if len(values) == 1 else ""}  # a line through one point is invisible


def _steps(count: int) -> str:
    return f"{count} inner step" + "s" * (count != 1)
