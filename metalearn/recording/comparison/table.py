"""The table of a comparison."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metalearn.recording.comparison.groups import Group, best_of, difference, group_runs, varying
from metalearn.recording.comparison.runs import ROLE, Run
from metalearn.recording.comparison.width import WIDTH, filled, fitted, names_of
from metalearn.recording.summary import norm_words

# Settings shown in the title if they are not a column, with their names in result.json
_SHOWN = {name: name for name in (ROLE, "data", "algo", "model", "way", "shot", "norm", "seed")} | {"norm": "norm_mode"}
_ROLES = "a search chose among its trials by validation; its confirmations have fresh seeds, and rank by themselves"


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


def compare_runs(runs: Sequence[Run], width: int = WIDTH) -> Table:
    """Make a table with one row for each configuration, over its seeds, sorted by validation score.

    Args:
        runs: to compare.
        width: of the table in characters, if possible. Names of runs, and settings that do not fit, are listed below
            it. Scores are never cut.
    """
    groups = group_runs(runs)
    finished = [run for group in groups for run in group.runs]
    names, best = varying(finished), best_of(groups)
    settings = [{_short(n): spell(group.settings[n]) for n in names if n in group.settings} for group in groups]
    marked = {id(group) for group in best.values()}
    scores = [_scores(group, best.get(group.problem), id(group) in marked) for group in groups]
    machines = {row["on"] for row in scores}
    if len(machines) == 1:
        scores = [{name: cell for name, cell in row.items() if name != "on"} for row in scores]
    if all(row["seeds"] == "1" for row in scores):
        scores = [{name: cell for name, cell in row.items() if name != "seeds"} for row in scores]
    cells, below = fitted(settings, scores, width)
    columns = filled(cells)
    notes = _notes(groups, columns)
    notes += ["* best by validation"] if marked else []
    notes += [_ROLES] if ROLE in names else []
    sources = {str(run.result["paper_source"]) for run in finished if run.result and run.result.get("paper_source")}
    notes += [f"paper: {'; '.join(sorted(sources))}"] if sources else []
    if "difference" in columns:
        notes.append("difference: test score minus that of the best, on the same tasks, with its paired 95% interval")
    notes += [*below, *(f"{run.name}: {run.status}" for run in runs if run.status)]
    rows = [[row.get(name, "") for name in columns] for row in cells]
    return Table(_title(groups, names, len(finished), machines), columns, rows, notes)


def _scores(group: Group, best: Group | None, marked: bool) -> dict[str, str]:
    """The cells of a row, without those of the settings."""
    result, objective = group.results[0], group.objective
    cells = {"run": names_of(group.runs), "seeds": str(len(group.results))}
    for heading, part, mode in (("validation", "val", ""), ("test", "test", ""), ("support", "test", "_support")):
        score = group.score(part, mode)
        cells[heading] = objective.spell(*score) if score else ""
        if heading == "test" and "paper_accuracy" in result:
            printed = f" ± {100 * result['paper_ci95']:.2f}" if "paper_ci95" in result else ""
            cells["paper"] = f"{100 * result['paper_accuracy']:.2f}{printed}%"
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


def _notes(groups: Sequence[Group], columns: Sequence[str]) -> list[str]:
    """The meaning of the intervals."""
    if "seeds" not in columns:
        return ["± is the 95% interval over tasks"] if groups else []
    both = any(len(group.results) == 1 for group in groups)
    alone = ["± with 1 seed: the 95% interval over tasks"] if both else []
    return [f"± {'with 2 or more seeds: ' if both else 'is '}the standard deviation over seeds", *alone]


def _steps(result: Mapping[str, Any]) -> str:
    """The meta-steps taken, and the configured number if it differs."""
    taken, configured = result["steps_taken"], result.get("steps")
    return str(taken) if taken == configured else f"{taken} of {configured}"


def _title(groups: Sequence[Group], names: Sequence[str], count: int, machines: Collection[str]) -> str:
    """The number of runs, and the settings that all rows share."""
    if not groups:
        return "no finished run"
    said = []
    for setting, name in _SHOWN.items():
        values = {spell(r.get(name, group.settings.get(setting, "?"))) for group in groups for r in group.results}
        if setting not in names and len(values) == 1 and "?" not in values:
            said.append(_words(name, values.pop()))
    tasks = {r.get("test_tasks") for group in groups for r in group.results} - {None}
    said += [f"{tasks.pop()} test tasks"] if len(tasks) == 1 else []
    said += [f"on {next(iter(machines))}"] if len(machines) == 1 and "" not in machines else []
    return f"{count} runs: {', '.join(said)}"


def _words(name: str, value: str) -> str:
    if name in ("way", "shot"):
        return f"{value}-{name}"
    return {"norm_mode": norm_words(value), "seed": f"seed {value}"}.get(name, value)


def _short(name: str) -> str:
    return {"algo": "algorithm", "norm": "batch norm"}.get(name, name)


def stated(name: str, settings: Mapping[str, Any]) -> str:
    """State a setting as on the command line, or that there is none."""
    return f"{name}={spell(settings[name])}" if name in settings else f"no {name}"


def spell(value: Any) -> str:
    """Write the value of a setting as on the command line."""
    if isinstance(value, float):
        return f"{value:g}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
