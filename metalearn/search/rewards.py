"""Rewards from which a sampler learns: the scores of a study's trials."""

import math

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from metalearn.search.records import origin


def rewarded(study: Study) -> list[tuple[FrozenTrial, float]]:
    """Return the trials that have a score, in the order of their numbers, each with its reward: higher is better.

    The reward of a pruned or paused trial is its last reported score. A trial that was promoted counts once, with the
    score of its last rung.
    """
    sign = 1 if study.direction == StudyDirection.MAXIMIZE else -1
    found: dict[int, tuple[FrozenTrial, float]] = {}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        pruned = trial.state == TrialState.PRUNED
        value = trial.intermediate_values.get(trial.last_step or 0) if pruned else trial.value
        if value is not None and math.isfinite(value):
            found[origin(trial)] = (trial, sign * value)
    return [found[number] for number in sorted(found)]
