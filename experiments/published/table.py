"""The table of the published numbers: `python experiments/published/table.py`.

Reads the run folders beside this file that have a result, and writes table.md and curves.png. run.sh makes the runs. A
run of another seed has a folder of its own, such as maml_5w1s_seed1.
"""

import csv
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from metalearn.algorithms.objective import Classification
from metalearn.recording.comparison.formats import markdown_lines
from metalearn.recording.comparison.groups import Group, difference
from metalearn.recording.comparison.runs import read_run
from metalearn.recording.plots.style import look, pyplot, saved, score_ticks
from metalearn.runtime.console import say, table

HERE = Path(__file__).resolve().parent
ALGORITHMS = ("maml", "fomaml", "anil", "metasgd", "reptile", "protonet")
WAYS = (5, 20)
COLUMNS = ("task", "algorithm", "test", "seeds", "published", "difference", "support statistics", "minutes",
           "minutes to the published accuracy")  # fmt: skip
PAIRS = ("task", "algorithms", "difference", "tasks", "")
NOTE = """\
`test` is the accuracy in percent on 600 test tasks with one query image a class, as in MAML's code, and transductive
batch norm; ± is its 95% interval over tasks, or with several seeds the mean and the standard deviation over seeds.
`difference` is that to the published accuracy, which counts as reached where it lies in the interval over tasks or
below it. `support statistics` is the same test with statistics of the support set alone, as a single image is
classified. Minutes are those of meta-training on one thread, with another run on the second core; the published
accuracy counts as reached there at the first measurement on 600 (20-way: 200) validation tasks that is at or above
it."""


class Cell(NamedTuple):
    """An algorithm on tasks of one size: its runs, which differ in their seed."""

    algo: str
    way: int
    folders: Sequence[Path]
    group: Group

    @property
    def result(self) -> dict[str, Any]:
        """The record of the first seed."""
        return dict(self.group.results[0])


def cells() -> list[Cell]:
    """Return the cells that have a result."""
    found = []
    for way in WAYS:
        for algo in ALGORITHMS:
            name = f"{algo}_{way}w1s"
            folders = [HERE / name, *sorted(HERE.glob(f"{name}_seed*"))]
            folders = [folder for folder in folders if (folder / "result.json").exists()]
            if folders:
                runs = [read_run(folder, folder.name) for folder in folders]
                found.append(Cell(algo, way, folders, Group(runs[0].settings, runs)))
    return found


def course(folder: Path) -> list[tuple[float, float]]:
    """Return the validation scores of a run, as (minutes of training, score)."""
    with open(folder / "timing.csv", newline="") as file:
        seconds = {int(row["step"]): float(row["train_seconds"]) for row in csv.DictReader(file)}
    with open(folder / "metrics.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["val_accuracy"]]
    return [(seconds[int(row["step"])] / 60, float(row["val_accuracy"])) for row in rows]


def minutes_to(folder: Path, accuracy: float) -> float | None:
    """Return the minutes of training until a validation score was at or above this one; None if none was."""
    return next((minutes for minutes, score in course(folder) if score >= accuracy), None)


def row(cell: Cell) -> list[str]:
    """Return the cells of a row of the table."""
    result, group = cell.result, cell.group
    published = result.get("paper_accuracy")
    test, support = group.score("test"), group.score("test", "_support")
    assert test is not None and support is not None, f"{cell.folders[0]}: not tested"
    reached = None if published is None else minutes_to(cell.folders[0], published)
    printed = f" ± {_percent(result['paper_ci95'])}" if "paper_ci95" in result else ""
    return [
        f"{cell.way}-way 1-shot",
        cell.algo,
        f"{_percent(test[0])} ± {_percent(test[1])}",
        str(len(group.results)),
        "" if published is None else f"{_percent(published)}{printed}",
        "" if published is None else f"{100 * (test[0] - published):+.2f} ({_verdict(test[0], result, published)})",
        f"{_percent(support[0])} ± {_percent(support[1])}",
        f"{result['train_seconds'] / 60:.0f}",
        "" if published is None else f"{reached:.0f}" if reached is not None else "not reached",
    ]


def differences(found: Sequence[Cell]) -> list[list[str]]:
    """Return a row for each pair of algorithms on the same tasks: their difference, and whether it is real."""
    rows = []
    for way in WAYS:
        for a, b in combinations([cell for cell in found if cell.way == way], 2):
            paired = difference(a.group, b.group)
            if paired is None:
                continue
            mean, half, tasks = paired
            verdict = "differ" if abs(mean) > half else "within noise"
            apart = f"{100 * mean:+.2f} ± {100 * half:.2f}"
            rows.append([f"{way}-way 1-shot", f"{a.algo} - {b.algo}", apart, str(tasks), verdict])
    return rows


def draw(found: Sequence[Cell], path: Path) -> None:
    """Draw validation accuracy over minutes, with the published accuracies as crosses where they were reached."""
    plt = pyplot()
    figure, axes = plt.subplots(1, len(WAYS), figsize=(11, 4.4), layout="constrained")
    for axis, way in zip(axes, WAYS, strict=True):
        for cell in (cell for cell in found if cell.way == way):
            style = look(ALGORITHMS.index(cell.algo))
            axis.plot(*zip(*course(cell.folders[0]), strict=True), label=cell.algo, **style)
            published = cell.result.get("paper_accuracy")
            reached = None if published is None else minutes_to(cell.folders[0], published)
            if reached is not None:
                axis.plot(reached, published, marker="x", ms=11, mew=2.5, color=style["color"], linestyle="")
        axis.set(title=f"{way}-way 1-shot; x: published accuracy reached", xlabel="minutes of training, one thread",
                 ylabel="validation accuracy")  # fmt: skip
        score_ticks(axis, Classification())
        axis.grid(alpha=0.25)
        axis.legend(fontsize=8, frameon=False, loc="lower right")
    saved(figure, path)


def _verdict(test: float, result: dict[str, Any], published: float) -> str:
    return "reached" if test + result["test_ci95"] >= published else "below"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def main() -> None:
    """Print and write the table, and draw the picture."""
    found = cells()
    if not found:
        say("no run here has a result yet: experiments/published/run.sh makes them")
        return
    rows = [row(cell) for cell in found]
    table("published numbers", list(COLUMNS), rows)
    lines = markdown_lines(COLUMNS, rows)
    pairs = markdown_lines(PAIRS, differences(found))
    (HERE / "table.md").write_text("\n".join([*lines, "", *NOTE.splitlines(), "", *pairs]) + "\n")
    draw(found, HERE / "curves.png")


if __name__ == "__main__":
    main()
