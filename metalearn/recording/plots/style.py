"""Style of all pictures: colours that colour-blind readers can distinguish, and complete legends."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metalearn.algorithms.objective import Objective, objective_of
from metalearn.recording.summary import norm_words

RIGHT, WRONG, PLAIN, SUPPORT = "#009E73", "#D55E00", "#777777", "#0072B2"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito
MARKERS, LINES = "os^vDPX", ("-", "--", ":", "-.")


def pyplot() -> Any:
    """Matplotlib without a display."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    return plt


def look(i: int) -> dict[str, Any]:
    """Colour, line and marker of curve i; the first 28 all differ."""
    n = len(COLOURS)
    return {
        "color": COLOURS[i % n],
        "linestyle": LINES[i // n % 4],
        "marker": MARKERS[(i + i // n) % n],
        "markersize": 4,
    }


def saved(figure: Any, path: Path) -> Path:
    """Write the picture with all its legends, in the format given by the file's suffix, and return its path."""
    figure.savefig(path, dpi=110, bbox_inches="tight")
    pyplot().close(figure)
    return path


def whole_steps(axis: Any) -> None:
    """Put ticks at whole numbers only."""
    axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)


def score_ticks(axis: Any, objective: Objective) -> None:
    """Show the scores on the y axis in percent if they lie in 0..1."""
    from matplotlib.ticker import PercentFormatter

    if objective.bounded:
        axis.yaxis.set_major_formatter(PercentFormatter(xmax=1))  # with as many digits as the ticks need


def plain_log(axis: Any) -> None:
    """Make the y axis logarithmic, with plain labels: 1.5, not 1.5 x 10^0."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(Plain())
    axis.yaxis.set_minor_formatter(Plain(minor_thresholds=(1, 0.4)))


def headline(result: Mapping[str, Any]) -> str:
    """The title of a run's pictures: algorithm, data, task, seed, batch norm and meta-steps."""
    task = objective_of(result).task_words(result["way"], result["shot"])
    return (
        f"{result['algo']} on {result['data']}, {task}, seed {result['seed']}, {norm_words(result['norm_mode'])}, "
        f"{result['steps']} meta-steps"
    )
