"""CSV, Markdown and LaTeX."""

import csv
import io

from metalearn.recording.comparison.formats import as_csv, as_latex, as_markdown
from metalearn.recording.comparison.runs import read_runs
from metalearn.recording.comparison.table import compare_runs


def test_the_formats(sweep):
    runs = read_runs([sweep])
    table = compare_runs(runs)
    lines = as_markdown(table).splitlines()
    assert lines[3] == "|---" * len(table.columns) + "|" and lines[4].startswith(
        "| anil | 0.1 | 2 | 1 | 96.00 ± 1.00% * |"
    )
    latex = as_latex(table)
    assert r"algo.inner\_optimizer.lr" in latex and r"96.00 $\pm$ 1.00\% $^*$" in latex and r"\bottomrule" in latex
    rows = list(csv.DictReader(io.StringIO(as_csv(runs))))
    assert len(rows) == 4 and rows[0]["run"] == "0" and rows[0]["val_accuracy"] == "0.9"


def test_latex_has_minus_signs_and_nothing_of_the_machine(sweep):
    runs = read_runs([sweep])
    difference = next(row for row in compare_runs(runs).rows if any(cell.startswith("-") for cell in row))
    latex = as_latex(compare_runs(runs))
    header = next(line for line in latex.splitlines() if "validation" in line)
    assert not {"run", "pixels", "seconds", "on"} & set(header.removesuffix(r" \\").split(" & "))
    number = next(cell for cell in difference if cell.startswith("-")).partition(" ")[0]
    assert f"${number}$ $\\pm$" in latex and f" {number} " not in latex
