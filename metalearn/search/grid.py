"""Grid search: every combination of the values of discrete hyperparameters, each once."""

import math
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from metalearn.errors import UserError
from metalearn.search.records import latest
from metalearn.search.space import Space


class GridSampler(BaseSampler):
    """Give the combinations in order, the last hyperparameter fastest.

    A trial takes the combination of its place among the trials that have not failed. Optuna's own sampler ends a study
    by itself, which a study with controls and several workers cannot use.

    Args:
        space: discrete hyperparameters.
    """

    def __init__(self, space: Space):
        self._values = grid(space)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return no joint space: a combination needs no history."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing, see `infer_relative_search_space`."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the value of a hyperparameter in the combination of this trial."""
        before = latest([other for other in study.get_trials(deepcopy=False) if other.number < trial.number])
        place = sum(other.state != TrialState.FAIL for other in before.values())
        for name in reversed(self._values):
            place, index = divmod(place, len(self._values[name]))
            if name == param_name:
                return self._values[name][index]
        raise KeyError(param_name)


def grid(space: Space) -> dict[str, list[Any]]:
    """Return all values of each hyperparameter.

    Raises:
        UserError: an interval, which has no list of values, or a conditional space.
    """
    for parameter in space.hyperparameters:
        if parameter.condition:
            raise UserError(f"search=grid: {parameter.name} depends on a choice; take random or tpe")
    return {parameter.name: _values(parameter.name, parameter.distribution) for parameter in space.hyperparameters}


def size(space: Space) -> int:
    """Return the number of combinations."""
    return math.prod(map(len, grid(space).values()))


def _values(name: str, distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    step = getattr(distribution, "step", None)
    if step is None or (isinstance(distribution, FloatDistribution) and distribution.log):
        raise UserError(f"search=grid: {name} is an interval; give range() or choice()")
    assert hasattr(distribution, "low") and hasattr(distribution, "high")
    count = round((distribution.high - distribution.low) / step) + 1
    return [distribution.low + i * step for i in range(count)]
