"""The pictures of a run: curves, layers, test tasks."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from metalearn.algorithms.base import RATE, Algorithm, Meta, nth
from metalearn.data.tasks import Source
from metalearn.recording.summary import norm_words, score_of, spelled

RIGHT, WRONG, PLAIN = "#2a9d4a", "#d1362f", "#888888"


def curves(rows: Sequence[Mapping[str, float]], result: Mapping[str, Any], path: Path) -> Path:
    """Training against out-of-sample loss; training, validation and test score; the adaptation curve."""
    plt = _pyplot()
    name = score_of(result)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
    steps = [row["step"] for row in rows]
    held = [row for row in rows if f"val_{name}" in row]
    grey = {"color": PLAIN, "marker": "o" if len(rows) == 1 else ""}  # a line of one point would not be seen
    left.plot(steps, [row.get("train_loss", math.nan) for row in rows], label="training tasks", **grey)
    left.plot([row["step"] for row in held], [row["val_loss"] for row in held], marker="o", label="validation tasks")
    left.set(title="query loss, training and out-of-sample", xlabel="meta-step", ylabel="loss", yscale="log")
    left.legend()
    if f"train_{name}" in (rows[0] if rows else {}):
        middle.plot(steps, [row[f"train_{name}"] for row in rows], label="training classes", **grey)
    bars = {"yerr": [row["val_ci95"] for row in held], "marker": "o", "capsize": 3}
    middle.errorbar([row["step"] for row in held], [row[f"val_{name}"] for row in held], label="validation", **bars)
    if f"test_{name}" in result:
        middle.axhline(result[f"test_{name}"], color=RIGHT, linestyle="--", label=f"test {spelled(result, 'test')}")
    middle.set(title=f"{name} after adaptation", xlabel="meta-step", ylabel=name)
    middle.legend()
    curve = result.get("adaptation_curve", [])
    right.plot(range(len(curve)), curve, marker="o", color=RIGHT)
    right.set(title="adaptation on test tasks", xlabel="inner step", ylabel=name)
    right.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(f"{result['algo']} on {result['data']}, {norm_words(result['norm_mode'])}, {result['steps']} steps")
    return _saved(figure, path)


def layers(rows: Sequence[Mapping[str, Any]], result: Mapping[str, Any], path: Path) -> Path:
    """The evolution of each layer's mean weight, and of how far the inner loop moves it."""
    plt = _pyplot()
    rows = [row for row in rows if not row["layer"].startswith(RATE)]
    norms = any(row["layer"].startswith("norms") for row in rows)  # near 1/2, beside which the others are all 0
    figure, axes = plt.subplots(1, 3 if norms else 2, figsize=(15 if norms else 11, 4), layout="constrained")
    for own, look in _by_layer(rows):
        place = axes[1 if own[0]["layer"].startswith("norms") else 0]
        place.plot([row["step"] for row in own], [row["mean_weight"] for row in own], **look)
        moved = [row for row in own if row["inner_change"] != ""]
        if any(row["inner_change"] > 0 for row in moved):
            axes[-1].plot([row["step"] for row in moved], [row["inner_change"] for row in moved], **look)
    axes[0].set(title="mean weight of each layer", xlabel="meta-step", ylabel="mean")
    if norms:
        axes[1].set(title="mean of batch norm's gamma and beta", xlabel="meta-step")
    axes[-1].set(title="change by the inner loop on validation tasks", xlabel="meta-step", yscale="log",
                 ylabel="RMS over the weights of a layer")  # fmt: skip
    shown = [entry for axis in axes[:-1] for entry in zip(*axis.get_legend_handles_labels(), strict=True)]
    figure.legend(*zip(*shown, strict=True), loc="outside right upper", fontsize=8)
    figure.suptitle(f"{result['algo']} on {result['data']}")
    return _saved(figure, path)


def rates(rows: Sequence[Mapping[str, Any]], result: Mapping[str, Any], path: Path) -> Path:
    """The evolution of the learned inner rates, where an algorithm has them: each layer's mean."""
    plt = _pyplot()
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    for own, look in _by_layer([row for row in rows if row["layer"].startswith(RATE)]):
        axis.plot([row["step"] for row in own], [row["mean_weight"] for row in own], **look)
    axis.set(title=f"learned inner rates: {result['algo']} on {result['data']}", xlabel="meta-step", ylabel="mean rate")
    figure.legend(loc="outside right upper", fontsize=8)
    return _saved(figure, path)


def _by_layer(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[list[Mapping[str, Any]], dict[str, Any]]]:
    """The rows of each layer, and how its curve looks."""
    names = list(dict.fromkeys(row["layer"] for row in rows))
    for i, name in enumerate(names):
        colour = _pyplot().get_cmap("viridis")(i / max(1, len(names) - 1) * 0.92)
        yield [row for row in rows if row["layer"] == name], {"color": colour, "marker": ".", "label": name}


def confusion(result: Mapping[str, Any], path: Path) -> Path:
    """Which way was taken for which on the test tasks.

    The numbering of a task's classes means nothing: an uneven pattern points to a mistake, or to favoured ways.
    """
    plt = _pyplot()
    counts = result["confusion"]
    ways = len(counts)
    shares = [[value / max(1, sum(row)) for value in row] for row in counts]
    figure, axis = plt.subplots(figsize=(4.6 if ways <= 10 else 7, 4 if ways <= 10 else 6.4), layout="constrained")
    picture = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if ways <= 10:
        for i, row in enumerate(shares):
            for j, value in enumerate(row):
                colour = "white" if value > 0.5 else "black"
                axis.text(j, i, f"{value:.1%}", ha="center", va="center", fontsize=8, color=colour)
    axis.set(title=f"{result['algo']} on {result['data']}: {result['test_tasks']} test tasks", xlabel="predicted class",
             ylabel="class", xticks=range(ways), yticks=range(ways))  # fmt: skip
    figure.colorbar(picture, ax=axis, format=lambda value, _: f"{value:.0%}")
    return _saved(figure, path)


def tasks(algorithm: Algorithm, meta: Meta, source: Source, path: Path, *, way: int, shot: int, query: int,
          device: str, count: int = 4) -> Path:  # fmt: skip
    """The first test tasks: support, query, and what was predicted, right or wrong."""
    query = 100 if algorithm.regression else query  # enough points for a smooth curve
    batch = source.tasks(torch.arange(count, device=device), way, shot, query)
    steps = algorithm.inner_steps_test
    adapted = [nth(algorithm.adapt(meta, batch.support_x, batch.support_y), n) for n in sorted({0, steps})]
    if algorithm.regression:
        return _regression(algorithm, adapted, batch, path)
    with torch.no_grad():
        predicted = algorithm.predict(adapted[-1], batch.query_x).argmax(-1).cpu()
    shots, queries, ways = min(shot, 3), min(query, 5), min(way, 10)
    plt = _pyplot()
    height = 0.68 * ways * (count + 1) // 2 + 0.5
    figure = plt.figure(figsize=(2 * (0.62 * (shots + queries) + 1), height), layout="constrained")
    parts = figure.subfigures((count + 1) // 2, 2, squeeze=False).flatten()
    for task, part in zip(range(count), parts, strict=False):
        for c, row in enumerate(part.subplots(ways, shots + queries, squeeze=False)):
            for k in range(shots):
                _image(row[k], batch.support_x[task, c * shot + k], "#2255aa", f"class {c}" if k == 0 else "")
            for q in range(queries):
                guess = int(predicted[task, c * query + q])
                colour = RIGHT if guess == c else WRONG
                _image(row[shots + q], batch.query_x[task, c * query + q], colour)
                row[shots + q].set_title(str(guess), fontsize=7, pad=1, color=colour)
    figure.suptitle(
        f"{count} test tasks: support (blue), query with the predicted class (green right, red wrong)", fontsize=9
    )
    return _saved(figure, path)


def _image(axis: Any, image: torch.Tensor, colour: str, label: str = "") -> None:
    pixels = image.permute(1, 2, 0).cpu().clamp(0, 1).numpy()
    axis.imshow(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels, cmap="gray_r", vmin=0, vmax=1)
    axis.set(xticks=[], yticks=[])
    axis.set_ylabel(label, fontsize=7, rotation=0, ha="right", va="center")
    for spine in axis.spines.values():
        spine.set(color=colour, linewidth=2)


def _regression(algorithm: Algorithm, adapted: Sequence[Any], batch: Any, path: Path) -> Path:
    plt = _pyplot()
    count = len(batch.support_x)
    figure, axes = plt.subplots(1, count, figsize=(3.4 * count, 3), layout="constrained", sharey=True)
    for task, axis in enumerate(axes):
        order = batch.query_x[task, :, 0].argsort().cpu()
        x = batch.query_x[task, :, 0].cpu()[order]
        axis.plot(x, batch.query_y[task, :, 0].cpu()[order], color=PLAIN, label="query")
        for result, style in zip(adapted, (":", "-"), strict=False):
            with torch.no_grad():
                y = algorithm.predict(result, batch.query_x)[task, :, 0].cpu()[order]
            axis.plot(x, y, style, color=RIGHT, label=f"after {result.step} steps")
        axis.plot(batch.support_x[task, :, 0].cpu(), batch.support_y[task, :, 0].cpu(), "k^", label="support")
    axes[0].legend(fontsize=7)
    return _saved(figure, path)


def _saved(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=110)
    _pyplot().close(figure)
    return path


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("agg")  # no display is needed, or touched
    import matplotlib.pyplot as plt

    return plt
