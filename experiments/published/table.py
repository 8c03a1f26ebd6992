"""The table of the published numbers: `python experiments/published/table.py`.

Reads the run folders beside this file that have a result, and writes table.md, curves.png, and the third line of each
recipe in conf/experiment/published: its number and its minutes. run.sh makes the runs. A run of another seed has a
folder of its own, such as maml_5w1s_seed1.
"""

import csv
import json
import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from metalearn.algorithms.objective import Classification
from metalearn.recording.comparison.formats import markdown_lines
from metalearn.recording.comparison.groups import Group, difference
from metalearn.recording.comparison.runs import read_run
from metalearn.recording.plots.style import look, pyplot, saved, score_ticks
from metalearn.runtime.console import say, table

HERE = Path(__file__).resolve().parent
RECIPES = HERE.parents[1] / "conf" / "experiment" / "published"
ALGORITHMS = ("maml", "fomaml", "anil", "metasgd", "reptile", "protonet")
WAYS = (5, 20)
FIVE_SHOT = {  # published accuracies with five shots and their intervals, of the sources that the recipes name
    ("maml", 5): (0.999, 0.001), ("fomaml", 5): (0.992, 0.002), ("reptile", 5): (0.9948, 0.0006),
    ("metasgd", 5): (0.9993, 0.0009), ("protonet", 5): (0.997, None),
    ("maml", 20): (0.989, 0.002), ("fomaml", 20): (0.979, 0.001), ("reptile", 20): (0.9712, 0.0032),
    ("metasgd", 20): (0.9897, 0.0019), ("protonet", 20): (0.989, None), ("anil", 20): (0.98, None),
}  # fmt: skip
COLUMNS = ("task", "algorithm", "test", "seeds", "published", "difference", "support statistics", "minutes",
           "minutes to the published accuracy")  # fmt: skip
PAIRS = ("task", "algorithms", "difference", "tasks", "")
NOTE = """\
`test` is the accuracy in percent on 600 test tasks with one query image a class, as in MAML's code, and transductive
batch norm; ± is its 95% interval over tasks, or with several seeds the mean and the standard deviation over seeds.
`difference` is that to the published accuracy, which counts as reached where it lies in the interval over tasks or
below it. `support statistics` is the same test with statistics of the support set alone, as a single image is
classified. With five shots, or 5 ways after training on 20, the learner of the recipe's row is tested, as in Meta-SGD's
paper; the inner steps of these tests were chosen on validation tasks, and run.sh has them. Minutes are those of
meta-training on one thread, with other work on the second core; the published accuracy counts as reached there at the
first measurement whose interval reaches it (600 validation tasks; 20-way: 200)."""


class Cell(NamedTuple):
    """An algorithm on tasks of one size: its runs, which differ in their seed."""

    algo: str
    way: int
    folders: Sequence[Path]
    group: Group

    @property
    def name(self) -> str:
        """The name of its recipe."""
        return f"{self.algo}_{self.way}w1s"

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


class Measured(NamedTuple):
    """A measurement on validation tasks: minutes of training, score, and half-width of its 95% interval."""

    minutes: float
    score: float
    half: float


def course(folder: Path) -> list[Measured]:
    """Return the measurements of a run on validation tasks."""
    with open(folder / "timing.csv", newline="") as file:
        seconds = {int(row["step"]): float(row["train_seconds"]) for row in csv.DictReader(file)}
    with open(folder / "metrics.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["val_accuracy"]]
    return [Measured(seconds[int(r["step"])] / 60, float(r["val_accuracy"]), float(r["val_ci95"])) for r in rows]


def reached(cell: Cell) -> Measured | None:
    """Return the first measurement whose interval reaches the published accuracy; None if there is none."""
    published = cell.result.get("paper_accuracy", math.inf)
    return next((one for one in course(cell.folders[0]) if one.score + one.half >= published), None)


def row(cell: Cell) -> list[str]:
    """Return the cells of a row of the table."""
    result, group = cell.result, cell.group
    test, support = group.score("test"), group.score("test", "_support")
    assert test is not None and support is not None, f"{cell.folders[0]}: not tested"
    first = reached(cell)
    return [
        f"{cell.way}-way 1-shot",
        cell.algo,
        _score(*test),
        str(len(group.results)),
        _published(result),
        _difference(test[0], result),
        _score(*support),
        f"{result['train_seconds'] / 60:.0f}",
        f"{first.minutes:.0f}" if first else "not reached" if "paper_accuracy" in result else "",
    ]


def other_row(cell: Cell, way: int, shot: int) -> list[str] | None:
    """Return the row of another test of the learner of the first seed; None if it was not measured."""
    for file in sorted(cell.folders[0].glob("evaluations/*/result.json")):
        result = json.loads(file.read_text())
        if (result["part"], result["way"], result["shot"]) != ("test", way, shot):
            continue
        result["paper_accuracy"], result["paper_ci95"] = paper(cell.algo, way, shot)
        return [
            f"{way}-way {shot}-shot",
            cell.algo if way == cell.way else f"{cell.algo}, trained on {cell.way} ways",
            _score(result["test_accuracy"], result["test_ci95"]),
            "1",
            _published(result),
            _difference(result["test_accuracy"], result),
            _score(result["test_accuracy_support"], result["test_ci95_support"]),
            "",
            "",
        ]
    return None


def paper(algo: str, way: int, shot: int) -> tuple[float | None, float | None]:
    """Return a published accuracy and its interval, None where there is none."""
    if shot == 5:
        return FIVE_SHOT.get((algo, way), (None, None))
    node = OmegaConf.load(RECIPES / f"{algo}_{way}w{shot}s.yaml").get("paper", {})
    return node.get("test_accuracy"), node.get("test_ci95")


def rows_of(found: Sequence[Cell]) -> list[list[str]]:
    """Return the rows of the table: the test of each recipe, then the other tests of the same learners."""
    others = [(5, 1), (5, 5), (20, 5)]
    return [*map(row, found), *filter(None, (other_row(cell, *task) for task in others for cell in found))]


def headline(cell: Cell) -> str:
    """Return the comment at the top of a recipe: the number and the minutes of its first seed."""
    result, minutes = cell.result, f"{cell.result['train_seconds'] / 60:.0f} minutes on one thread"
    score = _score(result["test_accuracy"], result["test_ci95"])
    return f"# {score} % on {result['test_tasks']} test tasks (published: {_published(result) or 'none'}), {minutes}"


def with_headline(text: str, cell: Cell) -> str:
    """Return the text of a recipe with its headline as the third line."""
    lines = text.splitlines(keepends=True)
    return "".join([*lines[:2], headline(cell) + "\n", *lines[3:]])


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
    """Draw validation accuracy over minutes, with crosses where the published accuracies were reached."""
    ways = [way for way in WAYS if any(cell.way == way for cell in found)]
    plt = pyplot()
    figure, axes = plt.subplots(1, len(ways), figsize=(6 * len(ways), 4.4), layout="constrained", squeeze=False)
    for axis, way in zip(axes[0], ways, strict=True):
        for cell in (cell for cell in found if cell.way == way):
            style, points = look(ALGORITHMS.index(cell.algo)), course(cell.folders[0])
            axis.plot([one.minutes for one in points], [one.score for one in points], label=cell.algo, **style)
            if first := reached(cell):
                axis.plot(first.minutes, first.score, marker="x", ms=12, mew=2.5, color=style["color"], linestyle="")
        axis.set(title=f"{way}-way 1-shot; x: published accuracy reached, within the interval",
                 xlabel="minutes of training, one thread", ylabel="validation accuracy")  # fmt: skip
        score_ticks(axis, Classification())
        axis.grid(alpha=0.25)
        axis.legend(fontsize=8, frameon=False, loc="lower right")
    saved(figure, path)


def _published(result: dict[str, Any]) -> str:
    """Return the published accuracy as it is printed, with its interval if it has one; empty if there is none."""
    if result.get("paper_accuracy") is None:
        return ""
    half = result.get("paper_ci95")
    return _percent(result["paper_accuracy"]) if half is None else _score(result["paper_accuracy"], half)


def _difference(test: float, result: dict[str, Any]) -> str:
    """Return the difference to the published accuracy, and whether that was reached; empty if there is none."""
    if result.get("paper_accuracy") is None:
        return ""
    verdict = "reached" if test + result["test_ci95"] >= result["paper_accuracy"] else "below"
    return f"{100 * (test - result['paper_accuracy']):+.2f} ({verdict})"


def _score(mean: float, half: float) -> str:
    return f"{_percent(mean)} ± {_percent(half)}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def markdown(found: Sequence[Cell]) -> str:
    """Return the table, how to read it, and the differences between algorithms, in Markdown."""
    lines = markdown_lines(COLUMNS, rows_of(found))
    return "\n".join([*lines, "", *NOTE.splitlines(), "", *markdown_lines(PAIRS, differences(found))]) + "\n"


def main() -> None:
    """Print and write the table, and draw the picture."""
    found = cells()
    if not found:
        say("no run here has a result yet: experiments/published/run.sh makes them")
        return
    table("published numbers", list(COLUMNS), rows_of(found))
    (HERE / "table.md").write_text(markdown(found))
    draw(found, HERE / "curves.png")
    for cell in found:
        recipe = RECIPES / f"{cell.name}.yaml"
        recipe.write_text(with_headline(recipe.read_text(), cell))


if __name__ == "__main__":
    main()
