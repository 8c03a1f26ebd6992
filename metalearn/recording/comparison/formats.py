"""The formats of a comparison: CSV, Markdown and LaTeX."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from metalearn.recording.comparison.groups import varying
from metalearn.recording.comparison.runs import Run
from metalearn.recording.comparison.table import Table, spell

_NOT_IN_PAPERS = ("run", "row", "pixels", "seconds", "on")  # columns that LaTeX leaves out


def as_csv(runs: Sequence[Run]) -> str:
    """Format every run as a row: the settings that differ, the single values of its result, and its status."""
    typed = [n for run in runs for n in run.typed if len({spell(r.settings.get(n)) for r in runs}) > 1]
    names = [*varying([run for run in runs if run.result is not None]), *typed]
    rows: list[dict[str, Any]] = []
    for run in runs:
        plain = {k: v for k, v in (run.result or {}).items() if not isinstance(v, (list, Mapping))}
        result = {k: v for k, v in plain.items() if k != "run"}  # in an evaluation: the folder of its run
        rows.append({"run": run.name, **{n: run.settings.get(n) for n in names}, **result, "status": run.status})
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_markdown(table: Table) -> str:
    """Format a table as Markdown, with its notes below."""
    lines = [table.title, "", *markdown_lines(table.columns, table.rows), *([""] if table.notes else [])]
    return "\n".join([*lines, "  \n".join(table.notes)]).rstrip()


def markdown_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Format the columns and rows of a table as lines of Markdown."""
    cells = [[cell.replace("|", "/") for cell in row] for row in rows]
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *(f"| {' | '.join(row)} |" for row in cells)]


def as_latex(table: Table) -> str:
    """Format a table as LaTeX in the style of booktabs, with its notes as comments.

    The columns that tell about the machine and the folders are left out.
    """
    kept = [i for i, name in enumerate(table.columns) if name not in _NOT_IN_PAPERS]
    lines = [f"% {table.title}", f"\\begin{{tabular}}{{l{'r' * (len(kept) - 1)}}}", "\\toprule"]
    lines.append(" & ".join(_tex(table.columns[i]) for i in kept) + r" \\")
    lines.append("\\midrule")
    lines += [" & ".join(_tex(row[i]) for i in kept) + r" \\" for row in table.rows]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", *(f"% {note}" for note in table.notes)])


def _tex(text: str) -> str:
    """Write a cell in LaTeX; numbers with a sign are in math mode, where a hyphen is a minus."""
    for a, b in (("\\", "/"), ("_", r"\_"), ("%", r"\%"), ("&", r"\&"), ("#", r"\#"), ("± ", r"$\pm$ "), ("*", "$^*$")):
        text = text.replace(a, b)
    return re.sub(r"(?<![\w.)-])([-+]\d[\d.]*)", r"$\1$", text)
