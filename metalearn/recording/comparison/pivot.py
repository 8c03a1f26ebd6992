"""A table of validation scores by two settings."""

import math
from collections.abc import Sequence

from metalearn.errors import UserError
from metalearn.recording.comparison.groups import group_runs, varying
from metalearn.recording.comparison.runs import Run
from metalearn.recording.comparison.table import Table, spell


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
    heads, sides = (_ordered({spell(g.settings.get(name)) for g in groups}) for name in (column, row))
    values: dict[tuple[str, str], list[float]] = {}
    problems: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for group in groups:
        place = spell(group.settings.get(row)), spell(group.settings.get(column))
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
