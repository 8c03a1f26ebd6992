"""Picture tasks.png: some test tasks, with the learner's predictions."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.parameters import MetaParameters, nth
from metalearn.data.base import TaskBatch, TaskSource
from metalearn.recording.plots.style import PLAIN, RIGHT, SUPPORT, WRONG, headline, pyplot, saved

_ROWS = 10  # classes in a column; others are in a second block beside it
_WIDE, _HIGH, _EDGE, _TOP, _LABEL = 0.62, 0.7, 0.5, 0.16, 1.55  # inches: a cell, its image, above it, and its label


def tasks(
    algorithm: Algorithm,
    params: MetaParameters,
    source: TaskSource,
    result: Mapping[str, Any],
    path: Path,
    *,
    way: int,
    shot: int,
    query: int,
    device: str,
) -> Path:
    """Draw the first test tasks: support and query images as in the files, with predictions.

    All classes of a task are drawn; for many ways, there are therefore fewer tasks. In regression, functions are drawn.

    Args:
        params: the learned meta-parameters.
        source: of the test tasks.
        result: the content of result.json, for the title.
        path: of the picture.
    """
    has_classes = bool(source.class_names)
    query = query if has_classes else 100  # enough points for a smooth curve
    blocks = math.ceil(way / _ROWS)
    count = max(1, 4 // blocks) if has_classes else 4
    ids = torch.arange(count, device=device)
    batch = source.tasks(ids, way, shot, query)
    steps = algorithm.inner_steps_test
    adapted = [nth(algorithm.adapt(params, batch.support_x, batch.support_y), n) for n in sorted({0, steps})]
    if not has_classes:
        return _functions(algorithm, adapted, batch, result, path)
    with torch.no_grad():
        predicted = algorithm.predict(adapted[-1], batch.query_x).argmax(-1).cpu()
    names = [[source.class_names[i] for i in row] for row in source.classes(ids, way).tolist()]
    shots, queries, rows = min(shot, 3), min(query, 5), math.ceil(way / blocks)
    lines = math.ceil(count * blocks / 2)
    width, height = 2 * (_LABEL + _WIDE * (shots + queries)), _HIGH * rows * lines + 0.4 * lines + 0.3
    figure, axes = pyplot().subplots(lines, 2, figsize=(width, height), squeeze=False, layout="constrained")
    for axis in axes.flat:  # one for a block of images: an axis for each image would take seconds
        axis.set_axis_off()
    for axis, (task, block) in zip(axes.flat, [(t, b) for t in range(count) for b in range(blocks)], strict=False):
        for row, c in enumerate(range(block * rows, min(way, (block + 1) * rows))):
            label = f"{c}: {_label(names[task][c])}"
            axis.text(-0.08, _HIGH * row + _TOP + _EDGE / 2, label, fontsize=7, ha="right", va="center")
            for k in range(shots):
                _image(axis, row, k, source.viewable(batch.support_x[task, c * shot + k]), SUPPORT)
            for q in range(queries):
                guess = int(predicted[task, c * query + q])
                colour, mark = (RIGHT, "") if guess == c else (WRONG, " ✗")
                picture = source.viewable(batch.query_x[task, c * query + q])
                _image(axis, row, shots + q, picture, colour, f"{guess}{mark}")
        axis.set(xlim=(-_LABEL, _WIDE * (shots + queries)), ylim=(_HIGH * rows, 0), aspect="equal")
    what = f"{count} test task" + "s" * (count > 1)
    figure.suptitle(
        f"{headline(result)}\n"
        f"{what}: support (blue frame), and query images with the predicted class (✗ and orange frame: wrong)",
        fontsize=9,
    )
    return saved(figure, path)


def _label(name: str) -> str:
    """A class name with its last part in a line of its own, and the part before it, such as an alphabet, above."""
    return "\n".join(part if len(part) <= 19 else f"{part[:9]}…{part[-9:]}" for part in name.split("/")[-2:])


def _image(axis: Any, row: int, column: int, image: Tensor, colour: str, title: str = "") -> None:
    """Draw an image [C, H, W] in its cell, with a frame and a title above."""
    from matplotlib.patches import Rectangle

    pixels = image.permute(1, 2, 0).cpu().clamp(0, 1).numpy()
    high, wide = (_EDGE * side / max(pixels.shape[:2]) for side in pixels.shape[:2])
    left, top = _WIDE * column + (_WIDE - wide) / 2, _HIGH * row + _TOP + (_EDGE - high) / 2
    shown = pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels
    axis.imshow(shown, cmap="gray", vmin=0, vmax=1, extent=(left, left + wide, top + high, top))
    axis.add_patch(Rectangle((left, top), wide, high, fill=False, edgecolor=colour, linewidth=2))
    axis.text(left + wide / 2, top - 0.02, title, fontsize=7, color=colour, ha="center", va="bottom")


def _functions(
    algorithm: Algorithm, adapted: Sequence[Any], batch: TaskBatch, result: Mapping[str, Any], path: Path
) -> Path:
    plt = pyplot()
    count = len(batch.support_x)
    figure, axes = plt.subplots(1, count, figsize=(3.4 * count, 3), layout="constrained", sharey=True)
    for task, axis in enumerate(axes):
        order = batch.query_x[task, :, 0].argsort().cpu()
        x = batch.query_x[task, :, 0].cpu()[order]
        axis.plot(x, batch.query_y[task, :, 0].cpu()[order], color=PLAIN, label="query")
        for one, style in zip(adapted, (":", "-"), strict=False):
            with torch.no_grad():
                y = algorithm.predict(one, batch.query_x)[task, :, 0].cpu()[order]
            axis.plot(x, y, style, color=RIGHT, label=f"after {one.step} steps")
        axis.plot(batch.support_x[task, :, 0].cpu(), batch.support_y[task, :, 0].cpu(), "k^", label="support")
        axis.set(title=f"test task {task}", xlabel="x")
    axes[0].legend(fontsize=7)
    figure.suptitle(headline(result), fontsize=9)
    return saved(figure, path)
