"""Picture confusion.png: the classes that were confused most often."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metalearn.recording.plots.style import WRONG, headline, pyplot, saved

MOST = 15


def confusion(result: Mapping[str, Any], path: Path) -> Path:
    """Draw the pairs of classes that were confused most often on the test tasks.

    Args:
        result: the content of result.json, with the entry `confused`.
        path: of the picture.
    """
    plt = pyplot()
    pairs = result["confused"][:MOST]
    figure, axis = plt.subplots(figsize=(8.5, 0.34 * max(len(pairs), 3) + 1.4), layout="constrained")
    for i, pair in enumerate(pairs):
        axis.barh(i, pair["times"], color=WRONG, alpha=0.75)
        axis.text(pair["times"], i, f" {pair['times']} of {pair['of']}", va="center", fontsize=8)
    axis.set_yticks(range(len(pairs)), [f"{_short(p['class'])}  taken for  {_short(p['taken_for'])}" for p in pairs])
    axis.tick_params(axis="y", labelsize=8)
    axis.invert_yaxis()
    axis.margins(x=0.14)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set(
        xlabel=f"misclassified of the query images in tasks with both classes ({result['test_tasks']} test tasks)",
        title="most confused classes" if pairs else "no query image was misclassified",
    )
    figure.suptitle(headline(result), fontsize=10)
    return saved(figure, path)


def _short(name: str, most: int = 34) -> str:
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-(most // 2 - 1) :]}"
