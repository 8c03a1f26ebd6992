"""Groups of runs that differ only in their seed: means and spreads over seeds, paired differences over tasks."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from metalearn.algorithms.objective import OBJECTIVES, Objective, objective_of
from metalearn.recording.comparison.runs import ROLE, Run
from metalearn.recording.intervals import paired

_PROBLEM = ("data", "split", "way", "shot")
_TASKS = ("test_digest", "test_tasks", "eval_query", *_PROBLEM)  # results equal in these have the same test tasks
_SCORES = tuple(f"{part}_{objective.name}" for part in ("val", "test") for objective in OBJECTIVES)
ALWAYS = (ROLE, "data", "algo", "way", "shot", "norm")  # shown in every table: as columns, or in the title


@dataclass(frozen=True)
class Group:
    """Finished runs that differ only in their seed.

    Attributes:
        settings: those that the runs share; of a single run, also its seed.
    """

    settings: Mapping[str, Any]
    runs: Sequence[Run]

    @property
    def results(self) -> list[Mapping[str, Any]]:
        """The content of result.json for each seed; if several runs have a seed, of a tested one where there is one."""
        found: dict[str, Mapping[str, Any]] = {}
        for run in self.runs:
            seed = spelled(run.settings.get("seed"))
            if run.result is not None and (seed not in found or "test_tasks" not in found[seed]):
                found[seed] = run.result
        return list(found.values())

    @property
    def objective(self) -> Objective:
        """The objective of the runs."""
        return objective_of(self.results[0])

    @property
    def problem(self) -> tuple[str, ...]:
        """Data set, split, way, shot, name of the score and role. Groups of one problem are ranked together.

        A search has chosen among its trials by their scores, which therefore do not rank with those of a confirmation.
        """
        return (*(str(self.results[0].get(name)) for name in _PROBLEM), self.objective.name, self.role)

    @property
    def role(self) -> str:
        """The role in a search, `trial` or `confirmation`; empty for other runs."""
        return str(self.settings.get(ROLE, "")).partition(" ")[0]

    def values(self, part: str, mode: str = "") -> list[float]:
        """The scores of all runs that have one.

        Args:
            part: `val` or `test`.
            mode: `_support` for the test with support statistics.
        """
        name = f"{part}_{self.objective.name}{mode}"
        return [float(result[name]) for result in self.results if isinstance(result.get(name), (int, float))]

    def score(self, part: str, mode: str = "") -> tuple[float, float] | None:
        """Mean score and its standard deviation over seeds; for one run, the half-width of its 95% interval over tasks.

        Returns:
            None where no run has the score.
        """
        values = self.values(part, mode)
        if not values:
            return None
        if len(values) > 1:
            return fmean(values), spread(values)
        return values[0], float(self.results[0].get(f"{part}_ci95{mode}") or math.nan)

    @property
    def rank(self) -> float:
        """The validation score as a loss, to sort by; infinity where it is missing or not finite."""
        score = self.score("val")
        if score is None or not math.isfinite(score[0]):
            return math.inf
        return self.objective.as_loss(score[0])


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Group finished runs that differ only in their seed; sort by problem, then by validation score, best first.

    A run with a seed that the group has joins it if the result is the same, as with and without a test. Otherwise, as
    after a change of the code, it begins another group.
    """
    collected: dict[str, list[list[Run]]] = {}
    for run in runs:
        if run.result is not None:
            shared = spelled({name: value for name, value in run.settings.items() if name != "seed"})
            alike = collected.setdefault(shared, [])
            own = next((own for own in alike if all(_may_join(run, other) for other in own)), None)
            if own is None:
                alike.append([run])
            else:
                own.append(run)
    groups = [_group(own) for alike in collected.values() for own in alike]
    return sorted(groups, key=lambda group: (group.problem, group.rank))


def _may_join(run: Run, other: Run) -> bool:
    """True if the runs have different seeds, or the same scores."""
    if run.settings.get("seed") != other.settings.get("seed") or run.result is None or other.result is None:
        return True
    both = [name for name in _SCORES if name in run.result and name in other.result]
    return bool(both) and all(run.result[name] == other.result[name] for name in both)


def _group(own: Sequence[Run]) -> Group:
    """Make a group, with the seed as a setting if there is only one."""
    single = len({spelled(run.settings.get("seed")) for run in own}) == 1
    return Group({name: value for name, value in own[0].settings.items() if name != "seed" or single}, own)


def best_of(groups: Sequence[Group]) -> dict[tuple[str, ...], Group]:
    """The group with the best validation score, for each problem that has several groups."""
    best: dict[tuple[str, ...], Group] = {}
    for group in groups:
        if math.isfinite(group.rank) and (group.problem not in best or group.rank < best[group.problem].rank):
            best[group.problem] = group
    alone = [problem for problem in best if sum(group.problem == problem for group in groups) < 2]
    return {problem: group for problem, group in best.items() if problem not in alone}


def difference(group: Group, other: Group) -> tuple[float, float, int] | None:
    """Mean difference of the test scores of two groups over the tasks that both were tested on.

    Returns:
        The mean of group - other, the half-width of its paired 95% interval, and the number of task pairs over all
        seeds that both have; None where the two have no test tasks in common.
    """
    known = {_tasks(result): result["test_scores"] for result in other.results if result.get("test_digest")}
    a: list[float] = []
    b: list[float] = []
    for result in group.results:
        scores, others = result.get("test_scores"), known.pop(_tasks(result), None)
        if scores and others and len(scores) == len(others) and all(map(math.isfinite, [*scores, *others])):
            a += scores
            b += others
    return (*paired(a, b), len(a)) if a else None


def _tasks(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Identify the test tasks of a result, by the digest of their content and by their sizes."""
    return tuple(str(result.get(name)) for name in _TASKS)


def varying(runs: Sequence[Run]) -> list[str]:
    """The names of the settings that distinguish the runs.

    A setting that was typed is kept if it differs. Any other is kept only if it differs between runs that agree in all
    settings kept before it: `algo` stands for the many settings that come with `algo=anil`.
    """
    typed = {name for run in runs for name in run.typed}
    names = list(dict.fromkeys(name for run in runs for name in run.settings))
    first = [ROLE, "data", "algo", "model", "split", "data.split", "way", "shot", "norm"]
    names.sort(key=lambda name: (name not in typed, first.index(name) if name in first else len(first)))
    kept: list[str] = []
    for name in names:
        if name == "seed" or not _differs(name, [], [run.settings for run in runs]):
            continue
        if name in typed or name in ALWAYS or _differs(name, kept, [run.settings for run in runs]):
            kept.append(name)
    return sorted(kept, key=lambda name: (name not in first, first.index(name) if name in first else 0))


def spread(values: Sequence[float]) -> float:
    """The standard deviation; NaN for a single value, or if a value is not finite."""
    return stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan


def needed(names: Sequence[str], settings: Sequence[Mapping[str, Any]], given: Sequence[str] = ()) -> list[str]:
    """Choose the names that are needed to distinguish these settings, beside the given ones.

    A name is chosen if settings that agree in the given and chosen names differ in it.
    """
    kept = [*given]
    for name in names:
        if name not in kept and _differs(name, kept, settings):
            kept.append(name)
    return kept[len(given) :]


def _differs(name: str, given: Sequence[str], settings: Sequence[Mapping[str, Any]]) -> bool:
    """True if settings that agree in the given names differ in this one."""
    found: dict[tuple[str, ...], set[str]] = {}
    for own in settings:
        found.setdefault(place_of(own, given), set()).update(place_of(own, [name]))
    return any(len(values) > 1 for values in found.values())


def place_of(settings: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    """The values of some settings as texts; empty where there is no such setting, unlike `null`."""
    return tuple(spelled(settings[name]) if name in settings else "" for name in names)


def spelled(value: Any) -> str:
    """Write a value as text that is equal for equal values only."""
    return json.dumps(value, sort_keys=True, default=str)
