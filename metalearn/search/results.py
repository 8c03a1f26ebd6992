"""The trials of a study by their results."""

from optuna.trial import FrozenTrial, TrialState

from metalearn.search.ranking import ranked
from metalearn.search.records import origin
from metalearn.search.study import Study


def best(study: Study, count: int | None = None) -> list[FrozenTrial]:
    """Return the trials that trained to their end, the best by the first objective first, of equal ones the earlier.

    Args:
        count: at most so many; None: all.
    """
    sign = -1 if study.goals[0].maximize else 1
    found = {origin(t): t for t in study.latest().values() if t.state == TrialState.COMPLETE}
    return [found[n] for n in ranked({n: sign * t.values[0] for n, t in found.items()})[:count]]


def pareto_front(study: Study) -> list[FrozenTrial]:
    """Return the trials that no other beats in all objectives, in the order of `best`."""
    front = {trial.number for trial in study.record.best_trials}
    return [trial for trial in best(study) if trial.number in front]
