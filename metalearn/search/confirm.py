"""Confirmation of a search: its best configurations against the default settings, with fresh seeds and new tasks.

A search picks the best of many noisy scores, so that its winner's score is too good. Therefore the best configurations
and the defaults are trained again with seeds that the search has not used, and compared on validation tasks that it has
not seen. The verdict is fixed by these. Only then are the winner and the defaults tested, once each, on the same tasks.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from optuna.trial import FrozenTrial

from metalearn.algorithms.objective import Objective
from metalearn.learner.learner import Learner
from metalearn.lifecycle.setup import Setup
from metalearn.recording.intervals import interval, paired
from metalearn.runtime.console import say, table
from metalearn.runtime.files import write_atomically
from metalearn.search import columns
from metalearn.search.ranking import ranked
from metalearn.search.records import number, schedule
from metalearn.search.results import best
from metalearn.search.settings import SearchSettings
from metalearn.search.study import Study
from metalearn.search.trial import Trials

FOLDER = "confirm"  # in the study's folder: a run for each configuration and seed
FILE = "confirmed.json"
DEFAULTS = "defaults"
_NEW = 1_000_003  # added to the seed of a search for seeds and validation tasks that it has not seen


@dataclass(frozen=True)
class Confirmed:
    """A configuration trained again with fresh seeds.

    Args:
        name: `trial 7`, or DEFAULTS.
        overrides: words of the command line.
        values: the searched settings by name; the last ones, where they changed in mid-training.
        learners: the best learner of each run, one for each seed.
        scores: of each validation task, means over the seeds.
        means: mean scores over the tasks, one for each seed.
    """

    name: str
    overrides: Sequence[str]
    values: Mapping[str, Any]
    learners: Sequence[Learner]
    scores: Sequence[float]
    means: Sequence[float]

    @property
    def mean(self) -> float:
        """Mean over tasks and seeds."""
        return fmean(self.scores)


def confirm(study: Study, trials: Trials, fixed: Sequence[str], folder: Path, settings: SearchSettings, setup: Setup,
            check: Callable[[], None]) -> dict[str, Any]:  # fmt: skip
    """Confirm a search, print the comparison and write confirmed.json.

    Args:
        study: with its trials.
        trials: trains configurations.
        fixed: words of the command line that all trials share: the default settings.
        folder: of the study.
        settings: of the search.
        setup: the parts of a run with the default settings.
        check: called before each training; raises Stopped after a signal.
    """
    if (folder / FILE).exists():
        found: dict[str, Any] = json.loads((folder / FILE).read_text())
        if is_of(found, study, settings):
            _show(found, setup.objective)
            return found
        say(f"{folder / FILE} is of other trials or settings: confirming anew")
    chosen = {_name(trial): schedule(trial) for trial in best(study, settings.confirm)}
    defaults: list[tuple[int, dict[str, Any]]] = [(0, {})]
    say(f"confirming the best {len(chosen)} of the search against the default settings: {settings.confirm_seeds} fresh "
        f"seeds each, compared on {settings.confirm_tasks} new validation tasks")  # fmt: skip
    confirmed = []
    for name, parts in {DEFAULTS: defaults, **chosen}.items():
        words = [(start, study.space.overrides(values)) for start, values in parts]
        learners = _train(name, [(start, [*fixed, *own]) for start, own in words], trials, folder, settings, setup,
                          check)  # fmt: skip
        each = [_scores(one, setup, "validation", settings.seed + _NEW, settings.confirm_tasks) for one in learners]
        shown = parts[-1][1] or _defaults(study, setup)
        overrides = [f"{word} from step {start}" if start else word for start, own in words for word in own]
        confirmed.append(Confirmed(name, overrides, shown, learners, _over_seeds(each), [fmean(s) for s in each]))
    result = _compared(confirmed, setup, settings)
    write_atomically(folder / FILE, (json.dumps(result, indent=1) + "\n").encode())
    _show(result, setup.objective)
    return result


def is_of(result: Mapping[str, Any], study: Study, settings: SearchSettings) -> bool:
    """True if a result is that of the present best trials, by the present settings."""
    names = [entry["name"] for entry in result["configurations"]]
    sizes = len(result["seeds"]), result["validation_tasks"]
    asked = settings.confirm_seeds, settings.confirm_tasks
    return sizes == asked and names == [DEFAULTS, *map(_name, best(study, settings.confirm))]


def _name(trial: FrozenTrial) -> str:
    return f"trial {number(trial)}"


def _defaults(study: Study, setup: Setup) -> dict[str, Any]:
    """Return the values of the searched settings without the search; those of groups have none."""
    found: dict[str, Any] = {}
    for parameter in study.space.hyperparameters:
        node: Any = setup.config
        for part in parameter.name.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        if not isinstance(node, (Mapping, type(None))):
            found[parameter.name] = node if isinstance(node, (int, float, bool)) else str(node)
    return found


def _train(name: str, parts: Sequence[tuple[int, Sequence[str]]], trials: Trials, folder: Path,
           settings: SearchSettings, setup: Setup, check: Callable[[], None]) -> list[Learner]:  # fmt: skip
    learners = []
    for index in range(settings.confirm_seeds):
        check()
        place = folder / FOLDER / name.replace(" ", "_") / f"seed{index}"
        seed = setup.settings.seed + _NEW + index
        result = trials.follow([(start, [*words, f"seed={seed}"]) for start, words in parts], place,
                               f"confirmation of {name}")  # fmt: skip
        score = setup.objective.spell_short(result[f"val_{setup.objective.name}"])
        say(f"{name}, seed {seed}: {score} in training, on {setup.evaluation.tasks} other validation tasks")
        learners.append(trials.load(parts[-1][1], place))
    return learners


def _scores(learner: Learner, setup: Setup, split: Literal["validation", "test"], seed: int, tasks: int) -> list[float]:
    """Measure a learner on the tasks of a seed."""
    score = learner.evaluate(setup.dataset, tasks=tasks, split=split, seed=seed, query=setup.evaluation.query)
    return [float(value) for value in score.scores]


def _over_seeds(scores: Sequence[Sequence[float]]) -> list[float]:
    return [fmean(task) for task in zip(*scores, strict=True)]


def _compared(confirmed: Sequence[Confirmed], setup: Setup, settings: SearchSettings) -> dict[str, Any]:
    """Compare, decide, and then test."""
    defaults, *others = confirmed
    sign = 1 if setup.objective.better(1.0, 0.0) else -1
    winner = others[ranked({place: -sign * entry.mean for place, entry in enumerate(others)})[0]]
    mean, ci95 = paired(winner.scores, defaults.scores)
    return {
        "objective": setup.objective.name,
        "seeds": [setup.settings.seed + _NEW + index for index in range(settings.confirm_seeds)],
        "validation_tasks": settings.confirm_tasks,
        "configurations": [
            {"name": entry.name, "overrides": list(entry.overrides), "settings": dict(entry.values)}
            | _entry(entry.scores, entry.means, setup.objective)
            | dict(zip(("difference", "difference_ci95"), paired(entry.scores, defaults.scores), strict=True))
            for entry in confirmed
        ],
        "winner": winner.name,
        "better_than_defaults": sign * mean - ci95 > 0,
        "verdict": verdict(sign * mean, ci95),
        "test": _test(defaults, winner, setup),
    }


def verdict(gain: float, ci95: float) -> str:
    """Say what a paired difference means.

    Args:
        gain: mean of the winner's scores less those of the defaults; above 0 where the winner is better.
        ci95: half of its interval.
    """
    if gain - ci95 > 0:
        return "is better than the default settings"
    if gain + ci95 < 0:
        return "is worse than the default settings: keep the defaults"
    return "is within noise of the default settings: keep the defaults"


def _test(defaults: Confirmed, winner: Confirmed, setup: Setup) -> dict[str, Any]:
    """Test the winner and the defaults, once each, on the same tasks."""
    tasks = setup.evaluation.test_tasks
    tested = {
        entry.name: [_scores(one, setup, "test", setup.settings.seed, tasks) for one in entry.learners]
        for entry in (defaults, winner)
    }
    means = {name: _over_seeds(each) for name, each in tested.items()}
    difference, ci95 = paired(means[winner.name], means[defaults.name])
    found = {name: _entry(means[name], [fmean(s) for s in tested[name]], setup.objective) for name in means}
    return {"tasks": tasks, "difference": difference, "difference_ci95": ci95, **found}


def _entry(scores: Sequence[float], means: Sequence[float], objective: Objective) -> dict[str, Any]:
    spread = stdev(means) if len(means) > 1 else 0.0
    return {"mean": fmean(scores), "ci95": interval(scores, bounded=objective.bounded), "sd_over_seeds": spread}


def _show(result: Mapping[str, Any], objective: Objective) -> None:
    """Print the comparison and the verdict."""
    rows = []
    names = list(dict.fromkeys(name for entry in result["configurations"] for name in entry["settings"]))
    for entry in result["configurations"]:
        own = entry["name"] == DEFAULTS
        difference = "" if own else objective.spell_difference(entry["difference"], entry["difference_ci95"])
        rows.append([entry["name"], objective.spell(entry["mean"], entry["ci95"]),
                     objective.spell_short(entry["sd_over_seeds"]), difference,
                     *(columns.value(entry["settings"].get(name)) for name in names)])  # fmt: skip
    seeds = len(result["seeds"])
    headings = ["", f"validation {objective.name}", "sd over seeds", "difference", *columns.headings(names)]
    table(f"confirmed on {result['validation_tasks']} new validation tasks, {seeds} fresh seeds", headings, rows)
    winner = result["winner"]
    say(f"verdict: {winner} {result['verdict']}")
    test = result["test"]
    say(f"test, {test['tasks']} tasks: {winner} {objective.spell(test[winner]['mean'], test[winner]['ci95'])}, "
        f"{DEFAULTS} {objective.spell(test[DEFAULTS]['mean'], test[DEFAULTS]['ci95'])}, difference "
        f"{objective.spell_difference(test['difference'], test['difference_ci95'])}")  # fmt: skip
