"""Tables of validation scores by two settings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from metalearn.recording.comparison.groups import Group, group_runs, needed, place_of, spelled, spread, varying
from metalearn.recording.comparison.runs import ROLE, Run
from metalearn.recording.comparison.table import Table, spell, stated
from metalearn.runtime.errors import UserError

_SCORE = "validation"  # the name of the score, beside the settings
# Never in one table, if they are neither its rows nor its columns
_APART = (_SCORE, ROLE, "data", "split", "way", "shot")
Place = tuple[str, str]  # a cell: the values of its row and its column


@dataclass(frozen=True)
class _Entry:
    """A configuration, with the settings that place it."""

    group: Group
    settings: Mapping[str, Any]
    place: Place


def pivot(runs: Sequence[Run], row: str, column: str) -> list[Table]:
    """Make tables of validation scores by two settings; a cell is a mean over seeds alone.

    Each combination of the other settings that differ within a cell has its own table, and so have different data sets,
    splits, ways and shots. The best of each problem is marked.

    Args:
        row: the name of the setting whose values are the rows.
        column: likewise, the columns.

    Returns:
        The tables, those with the most cells first. Tables with one cell are left out if there are larger ones.

    Raises:
        UserError: no run has such a setting, or no two runs differ in these two alone.
    """
    groups = group_runs(runs)
    known = {name for run in runs if run.result is not None for name in run.settings}
    names = varying([run for group in groups for run in group.runs])
    for name in (row, column):
        if name not in known:
            raise UserError(f"--pivot {name}: no run has this setting; there are {', '.join(names) or 'none'}")
    if "seed" in (row, column):
        groups = [Group(run.settings, [run]) for group in groups for run in _one_of_each_seed(group)]
    entries = [_entry(group, row, column) for group in groups]
    apart = _apart(entries, names, row, column)
    tables: dict[tuple[str, ...], list[_Entry]] = {}
    for entry in entries:
        tables.setdefault(place_of(entry.settings, apart), []).append(entry)
    sizes = {key: len({entry.place for entry in own}) for key, own in tables.items()}
    if len(tables) > 1 and max(sizes.values()) == 1:
        others = ", ".join(name for name in apart if name != _SCORE)
        raise UserError(f"--pivot {row} {column}: no two runs differ in these alone; they differ in {others} as well")
    shown = [key for key in sorted(tables, key=lambda key: -sizes[key]) if len(tables) == 1 or sizes[key] > 1]
    left = sum(len(entry.group.runs) for key, own in tables.items() if key not in shown for entry in own)
    made = [_table(tables[key], row, column, apart, names) for key in shown]
    if left:
        note = f"in no table: {left} more run{'s' * (left > 1)}; no two of these differ in {row} and {column} alone"
        made[-1] = replace(made[-1], notes=[*made[-1].notes, note])
    return made


def _entry(group: Group, row: str, column: str) -> _Entry:
    result = group.results[0]
    settings = {"split": result.get("split"), **group.settings, _SCORE: group.objective.name}
    settings |= {ROLE: group.role} if group.role else {}
    place = tuple(spell(settings[name]) if name in settings else "not set" for name in (row, column))
    return _Entry(group, settings, (place[0], place[1]))


def _one_of_each_seed(group: Group) -> list[Run]:
    return list({spelled(run.settings.get("seed")): run for run in group.runs}.values())


def _apart(entries: Sequence[_Entry], names: Sequence[str], row: str, column: str) -> list[str]:
    """The names of the settings that are equal within a table."""
    own = {row, column, "seed"}
    if any(name == "data" or name.startswith("data.") for name in own):
        own.add("split")  # comes with the data
    fixed = [name for name in _APART if name not in own and _vary(name, entries)]
    others = [name for name in names if name not in own]
    return [*fixed, *needed(others, [entry.settings for entry in entries], [row, column, *fixed])]


def _table(entries: Sequence[_Entry], row: str, column: str, apart: Sequence[str], names: Sequence[str]) -> Table:
    """Make the table of configurations that are equal in the settings `apart`."""
    objective = entries[0].group.objective
    values: dict[Place, list[float]] = {}
    problems: dict[tuple[str, ...], list[Place]] = {}
    for entry in entries:
        if scores := entry.group.values("val"):
            values.setdefault(entry.place, []).extend(scores)
            problems.setdefault(entry.group.problem, []).append(entry.place)
    means = {place: fmean(own) for place, own in values.items()}
    marked = set()
    for places in problems.values():
        finite = [place for place in dict.fromkeys(places) if math.isfinite(means[place])]
        if len(finite) > 1:
            marked.add(min(finite, key=lambda place: objective.as_loss(means[place])))

    def cell(place: Place) -> str:
        own = values.get(place, [])
        text = objective.spell(means[place], spread(own)) if own else ""
        return text + f" ({len(own)} runs)" * (len(own) > 1) + " *" * (place in marked)

    sides, heads = (_ordered({entry.place[i] for entry in entries}) for i in (0, 1))
    rows = [[side, *(cell((side, head)) for head in heads)] for side in sides]
    notes = ["* best by validation of its data set, way and shot"] if marked else []
    if any(len(own) > 1 for own in values.values()):
        notes.append("±: the standard deviation over the runs of a cell, which differ in their seed alone")
    if also := [name for name in names if name not in (row, column, *apart) and _vary(name, entries)]:
        notes.append(f"from cell to cell, these differ as well: {', '.join(also)}")
    common = [stated(name, entries[0].settings) for name in apart if name != _SCORE]
    title = f"validation {objective.name}: {row} by {column}"
    return Table(
        "; ".join([title, ", ".join(common)] if common else [title]), [f"{row} \\ {column}", *heads], rows, notes
    )


def _vary(name: str, entries: Sequence[_Entry]) -> bool:
    return len({place_of(entry.settings, [name]) for entry in entries}) > 1


def _ordered(values: set[str]) -> list[str]:
    """Sort the values: numerically if all are numbers, else as text."""
    try:
        return sorted(values, key=float)
    except ValueError:
        return sorted(values)
