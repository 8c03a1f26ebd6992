"""Quasi-random search: points of a scrambled Sobol sequence (Sobol 1967; Owen 1998), by scipy.

Optuna's own sampler draws choices at random and keeps a counter in the study. Here each trial takes the point of its
number, and a choice is a dimension like any other.
"""

from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial
from scipy.stats.qmc import Sobol

from metalearn.search.independent import IndependentSampler
from metalearn.search.records import number
from metalearn.search.space import Space
from metalearn.search.unit_interval import from_unit


class SobolSampler(IndependentSampler):
    """Draw trial n from point n of one scrambled sequence.

    Args:
        space: the search space, one dimension for each hyperparameter.
        seed: of the scrambling, the same for all trials of a study.
    """

    def __init__(self, space: Space, seed: int):
        self._names = [parameter.name for parameter in space.hyperparameters]
        self._seed = seed

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the coordinate of a hyperparameter in the point of this trial."""
        sequence = Sobol(len(self._names), scramble=True, rng=self._seed)
        if place := number(trial):  # fast_forward(0) overflows
            sequence.fast_forward(place)
        point = sequence.random(1)[0]
        return from_unit(float(point[self._names.index(param_name)]), param_distribution)
