"""Comparison of runs: `python -m metalearn.compare FOLDER...`. A sweep ends with the same table."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from metalearn.cli.parser import Parser
from metalearn.runtime.errors import UserError

EXAMPLES = """\
examples:
  python -m metalearn.compare runs                        all runs below a folder
  python -m metalearn.compare runs/a runs/b --markdown    two sweeps in one table, as Markdown
  python -m metalearn.compare runs --latex > table.tex    for a paper
  python -m metalearn.compare runs --pivot way algo.inner_optimizer.lr
  python -m metalearn.compare runs --figure curves.pdf

Each setting that differs between the runs is a column, with an empty cell where a run lacks it; settings that all runs
share are in the title. Where the table would be too wide, the rows are numbered, and names of runs and further settings
are listed below it. Runs that differ only in their seed are one row. Rows are sorted by validation score; * marks the
best of each data set, way and shot. LaTeX has no columns of run, pixels, seconds and machine.

--pivot averages over seeds alone: each combination of other settings that differ has a table of its own.

The column "test" is measured in the batch-norm mode of training, "support" in that of a loaded learner. "difference" is
the test score minus that of the best, on the same test tasks, with its paired 95% interval (Student's t). The interval
covers tasks, not seeds; the spread over seeds is in the standard deviations. Runs without a result are listed below.

For one folder, comparison.csv (every run, in full precision) and comparison.png (learning curves) are written into it,
unless the command names a format, a pivot or a figure.
"""


def markdown(*folders: Path) -> str:
    """The comparison of these folders as a Markdown table."""
    from metalearn.recording.comparison.formats import as_markdown
    from metalearn.recording.comparison.runs import read_runs
    from metalearn.recording.comparison.table import compare_runs

    return as_markdown(compare_runs(read_runs(folders)))


def main(words: Sequence[str]) -> int:
    """Run the command and return its exit status."""
    parser = Parser(
        "python -m metalearn.compare",
        description="Compare the runs below some folders.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print every run as CSV")
    form.add_argument("--markdown", action="store_true", help="print a Markdown table")
    form.add_argument("--latex", action="store_true", help="print a LaTeX table (booktabs)")
    parser.add_argument("--pivot", nargs=2, metavar=("ROW", "COLUMN"), help="validation scores by two settings")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw learning curves into a png, pdf or svg file")
    parser.add_argument("--evaluations", action="store_true", help="include the records of metalearn.evaluate")
    asked = parser.parse_args(words)
    try:
        _compare(asked)
    except UserError as error:
        print(f"metalearn: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # as by `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes again at exit
    except OSError as error:
        print(f"metalearn: {error.filename or asked.folders[0]}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def _compare(asked: argparse.Namespace) -> None:
    from metalearn.recording.comparison.figure import learning_curves
    from metalearn.recording.comparison.formats import as_csv, as_latex, as_markdown
    from metalearn.recording.comparison.pivot import pivot
    from metalearn.recording.comparison.runs import read_runs
    from metalearn.recording.comparison.show import show, show_pivot
    from metalearn.recording.comparison.table import compare_runs
    from metalearn.recording.comparison.width import WIDTH
    from metalearn.runtime.console import say

    if asked.csv and asked.pivot:
        raise UserError("--csv has every run as a row; --pivot is for tables: leave out one of them")
    if asked.figure and asked.figure.suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"--figure {asked.figure}: must end in .png, .pdf or .svg")
    runs = read_runs(asked.folders, asked.evaluations)
    if asked.figure and learning_curves(runs, asked.figure) is None:
        raise UserError("--figure: no run was measured on its validation classes")
    if asked.csv:
        print(as_csv(runs), end="", flush=True)
    elif asked.markdown or asked.latex:
        width = sys.maxsize if asked.latex else WIDTH  # a table for a paper keeps every setting
        tables = pivot(runs, *asked.pivot) if asked.pivot else [compare_runs(runs, width)]
        print("\n\n".join(map(as_markdown if asked.markdown else as_latex, tables)), flush=True)
    elif asked.pivot:
        show_pivot(runs, *asked.pivot)
    else:
        show(runs, asked.folders[0] if len(asked.folders) == 1 and not asked.figure else None)
    if asked.figure and (asked.csv or asked.markdown or asked.latex):  # standard output is a table for a file
        print(f"written: {asked.figure} (learning curves)", file=sys.stderr)
    elif asked.figure:
        say(f"written: {asked.figure} (learning curves)")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
