"""The look that all pictures share: colours that colour-blind readers tell apart, legends that are never cut off."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    """Colour, line and marker of the i-th curve: no two alike among the first 28."""
    n = len(COLOURS)
    return {
        "color": COLOURS[i % n],
        "linestyle": LINES[i // n % 4],
        "marker": MARKERS[(i + i // n) % n],
        "markersize": 4,
    }


def saved(figure: Any, path: Path) -> Path:
    """Write the picture in the format that the name of the file says, with all of its legends."""
    figure.savefig(path, dpi=110, bbox_inches="tight")
    pyplot().close(figure)
    return path


def whole_steps(axis: Any) -> None:
    """Put ticks at whole numbers only."""
    axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)


def plain_log(axis: Any) -> None:
    """Make the y axis logarithmic, with labels such as 1.5 where it spans less than a decade, not 1.5 x 10^0."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(Plain())
    axis.yaxis.set_minor_formatter(Plain(minor_thresholds=(1, 0.4)))


def headline(result: Mapping[str, Any]) -> str:
    """A run as the title of its pictures."""
    task = (
        f"{result['shot']}-shot"
        if "val_mse" in result or result["way"] == 1
        else f"{result['way']}-way {result['shot']}-shot"
    )
    norm = "no batch norm" if result["norm_mode"] == "none" else f"{result['norm_mode']} batch norm"
    return f"{result['algo']} on {result['data']}, {task}, seed {result['seed']}, {norm}, {result['steps']} meta-steps"
