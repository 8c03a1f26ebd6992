"""Fit a comparison into the width of a page. Scores are never cut: settings and names of runs move below the table."""

from collections import Counter
from collections.abc import Mapping, Sequence

from metalearn.recording.comparison.runs import Run

WIDTH = 160  # characters
_GAP = 3  # characters between two columns
_NAMES = 40  # characters for the names of a row's runs
Cells = Mapping[str, str]  # of a row, by column


def names_of(runs: Sequence[Run]) -> str:
    """The names of some runs, or the first one and the number of the others."""
    text = ", ".join(run.name for run in runs)
    return text if len(runs) == 1 or len(text) <= _NAMES else f"{runs[0].name} (and {len(runs) - 1} more)"


def filled(cells: Sequence[Cells]) -> list[str]:
    """The columns that have a cell with text."""
    return [name for name in dict.fromkeys(n for row in cells for n in row) if any(row.get(name) for row in cells)]


def fitted(settings: Sequence[Cells], scores: Sequence[Cells], width: int) -> tuple[list[Cells], list[str]]:
    """Join the cells of settings and scores to rows that fit, if possible.

    If they do not, the rows are numbered, and the names of their runs are listed below. So are the settings that find
    no room.

    Args:
        settings: for each row, the settings that distinguish it, the most important first.
        scores: for each row, the other cells, with its runs in `run`.
        width: in characters.

    Returns:
        The rows, and the lines below the table.
    """
    joined: list[Cells] = [{**own, **other} for own, other in zip(settings, scores, strict=True)]
    if sum(_width(joined, name) for name in filled(joined)) <= width:
        return joined, []
    numbered = [{"row": str(n), **row} for n, row in enumerate(scores, 1)]
    kept = [{name: cell for name, cell in row.items() if name != "run"} for row in numbered]
    room = width - sum(_width(kept, name) for name in filled(kept))
    columns: list[str] = []
    names = filled(settings)
    for name in names:
        if (needed := _width(settings, name)) <= room:
            columns.append(name)
            room -= needed
    left = [name for name in names if name not in columns]
    common = _common(settings, left)
    below = [f"for every row, unless its line below says otherwise: {_listed(common)}"] if common else []
    if some := [name for name in left if name not in common and any(name not in row for row in settings)]:
        below.append(f"set only for the rows whose lines below name them: {', '.join(some)}")
    rows: list[Cells] = []
    for own, row, cells in zip(settings, numbered, kept, strict=True):
        rows.append({"row": row["row"], **{name: own.get(name, "") for name in columns}, **cells})
        other = {name: own[name] for name in left if name in own and own[name] != common.get(name)}
        facts = [_listed(other)] if other else []
        facts += [f"no {name}" for name in common if name not in own]
        below.append("; ".join([f"row {row['row']}: {row['run']}", *([", ".join(facts)] if facts else [])]))
    return rows, below


def _common(settings: Sequence[Cells], names: Sequence[str]) -> dict[str, str]:
    """The values of settings that more than half of the rows have."""
    counts = {name: Counter(row[name] for row in settings if name in row).most_common(1)[0] for name in names}
    return {name: value for name, (value, rows) in counts.items() if 2 * rows > len(settings)}


def _width(cells: Sequence[Cells], name: str) -> int:
    return max(len(name), *(len(row.get(name, "")) for row in cells)) + _GAP


def _listed(settings: Cells) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())
