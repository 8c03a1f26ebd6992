"""The table of a comparison, and its formats: text, CSV, Markdown and LaTeX."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metalearn.errors import UserError
from metalearn.recording.comparison.groups import ALWAYS, Group, best_of, difference, group_runs, varying
from metalearn.recording.comparison.runs import Run
from metalearn.recording.summary import norm_words

# Settings shown in the title if they are not a column, with their names in result.json
_SHOWN = {**{name: name for name in ALWAYS}, "norm": "norm_mode", "seed": "seed"}


@dataclass(frozen=True)
class Table:
    """A comparison, ready to be printed.

    Attributes:
        title: the settings that all rows share.
        notes: lines below the table: how to read it, and the runs without a result.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]


def compare_runs(runs: Sequence[Run]) -> Table:
    """Make a table with one row for each configuration, over its seeds, sorted by validation score."""
    groups = group_runs(runs)
    finished = [run for group in groups for run in group.runs]
    names, best = varying(finished), best_of(groups)
    marked = {id(group) for group in best.values()}
    cells = [_cells(group, names, best.get(group.problem), id(group) in marked) for group in groups]
    columns = [name for name in dict.fromkeys(n for row in cells for n in row) if any(row.get(name) for row in cells)]
    rows = [[row.get(name, "") for name in columns] for row in cells]
    notes = []
    if any(len(group.runs) > 1 for group in groups):
        notes.append("± is the standard deviation over seeds; for a single seed, the 95% interval over tasks")
    elif groups:
        notes.append("± is the 95% interval over tasks")
    if marked:
        notes.append("* best by validation")
    sources = {str(run.result["paper_source"]) for run in finished if run.result and run.result.get("paper_source")}
    notes += [f"paper: {'; '.join(sorted(sources))}"] if sources else []
    if "difference" in columns:
        notes.append("difference: test score minus that of the best, on the same tasks, with its paired 95% interval")
    notes += [f"{run.name}: {run.status}" for run in runs if run.status]
    return Table(_title(groups, names, len(finished)), columns, rows, notes)


def _cells(group: Group, names: Sequence[str], best: Group | None, marked: bool) -> dict[str, str]:
    result, objective = group.results[0], group.objective
    cells = {_short(name): _value(group.settings[name]) if name in group.settings else "" for name in names}
    cells["run"] = ", ".join(run.name for run in group.runs[:4]) + (", ..." if len(group.runs) > 4 else "")
    cells["seeds"] = str(len(group.runs)) if len(group.runs) > 1 else ""
    for heading, part, mode in (("validation", "val", ""), ("test", "test", ""), ("support", "test", "_support")):
        score = group.score(part, mode)
        cells[heading] = objective.spell(*score) if score else ""
        if heading == "test" and "paper_accuracy" in result:
            cells["paper"] = f"{100 * result['paper_accuracy']:.2f}%"
    cells["validation"] += " *" if marked else ""
    paired = difference(group, best) if best is not None and not marked else None
    cells["difference"] = f"{objective.spell_difference(*paired[:2])} ({paired[2]} tasks)" if paired else ""
    if "pixel_nearest_neighbour" in result:
        cells["pixels"] = f"{100 * result['pixel_nearest_neighbour']:.1f}%"
    taken = {_steps(own) for own in group.results if "steps_taken" in own}
    cells["meta-steps"] = ", ".join(sorted(taken))
    seconds = [r["train_seconds"] for r in group.results if "train_seconds" in r]
    cells["seconds"] = f"{sum(seconds) / len(seconds):.0f}" if seconds else ""
    cells["on"] = str(result.get("device_name", ""))
    return cells


def _steps(result: Mapping[str, Any]) -> str:
    """The meta-steps taken, and the configured number if it differs."""
    taken, configured = result["steps_taken"], result.get("steps")
    return str(taken) if taken == configured else f"{taken} of {configured}"


def _title(groups: Sequence[Group], names: Sequence[str], count: int) -> str:
    """The number of runs, and the settings that all rows share."""
    if not groups:
        return "no finished run"
    result, said = groups[0].results[0], []
    for setting, name in _SHOWN.items():
        values = {_value(r.get(name)) for group in groups for r in group.results}
        if setting not in names and len(values) == 1 and name in result:
            said.append(_words(name, values.pop()))
    tasks = {r.get("test_tasks") for group in groups for r in group.results} - {None}
    said += [f"{tasks.pop()} test tasks"] if len(tasks) == 1 else []
    return f"{count} runs: {', '.join(said)}"


def _words(name: str, value: str) -> str:
    if name in ("way", "shot"):
        return f"{value}-{name}"
    return {"norm_mode": norm_words(value), "seed": f"seed {value}"}.get(name, value)


def _short(name: str) -> str:
    return {"algo": "algorithm", "norm": "batch norm"}.get(name, name)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def pivot(runs: Sequence[Run], row: str, column: str) -> Table:
    """Make a table of validation scores by two settings, averaged over all others. The best of each problem is marked.

    Args:
        row: the name of the setting whose values are the rows.
        column: likewise, the columns.

    Raises:
        UserError: no run has such a setting.
    """
    groups = group_runs(runs)
    known = sorted({name for group in groups for name in group.settings})
    for name in (row, column):
        if name not in known:
            raise UserError(f"--pivot {name}: no run has this setting; there are {', '.join(varying(runs)) or 'none'}")
    objective = groups[0].objective
    heads, sides = (_ordered({_value(g.settings.get(name)) for g in groups}) for name in (column, row))
    values: dict[tuple[str, str], list[float]] = {}
    problems: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for group in groups:
        place = _value(group.settings.get(row)), _value(group.settings.get(column))
        values.setdefault(place, []).extend(group.values("val"))
        problems.setdefault(place, set()).add(group.problem)
    spreads = {place: _mean_and_spread(own) for place, own in values.items() if own}
    finite = {place: s[0] for place, s in spreads.items() if math.isfinite(s[0])}
    best = {
        min(own, key=lambda place: objective.as_loss(finite[place]))
        for problem in {one for found in problems.values() for one in found}
        if len(own := [place for place in finite if problem in problems[place]]) > 1
    }

    def cell(place: tuple[str, str]) -> str:
        if place not in spreads:
            return ""
        mean, spread = spreads[place]
        return objective.spell(mean, spread if len(values[place]) > 1 else math.nan) + (" *" if place in best else "")

    cells = [[side, *(cell((side, head)) for head in heads)] for side in sides]
    notes = [
        "* best by validation of its data set, way and shot",
        "± is the standard deviation over the runs of a cell",
    ]
    return Table(f"validation {objective.name}: {row} by {column}", [f"{row} \\ {column}", *heads], cells, notes)


def _mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1))


def _ordered(values: set[str]) -> list[str]:
    """Sort the values: numerically if all are numbers, else as text."""
    try:
        return sorted(values, key=float)
    except ValueError:
        return sorted(values)


def as_csv(runs: Sequence[Run]) -> str:
    """Format every run as a row: the settings that differ, the single values of its result, and its status."""
    typed = [n for run in runs for n in run.typed if len({_value(r.settings.get(n)) for r in runs}) > 1]
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
    lines = [table.title, "", f"| {' | '.join(table.columns)} |", "|---" * len(table.columns) + "|"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in table.rows]
    return "\n".join([*lines, *([""] if table.notes else []), "  \n".join(table.notes)]).rstrip()


def as_latex(table: Table) -> str:
    """Format a table as LaTeX in the style of booktabs, with its notes as comments."""
    lines = [f"% {table.title}", f"\\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}", "\\toprule"]
    lines.append(" & ".join(map(_tex, table.columns)) + r" \\")
    lines.append("\\midrule")
    lines += [" & ".join(map(_tex, row)) + r" \\" for row in table.rows]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", *(f"% {note}" for note in table.notes)])


def _tex(text: str) -> str:
    for a, b in (("\\", "/"), ("_", r"\_"), ("%", r"\%"), ("&", r"\&"), ("#", r"\#"), ("± ", r"$\pm$ "), ("*", "$^*$")):
        text = text.replace(a, b)
    return text
