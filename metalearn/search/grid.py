"""Grid search: every combination of the values of discrete hyperparameters, each once."""

import math
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial

from metalearn.runtime.errors import UserError
from metalearn.search.independent import IndependentSampler
from metalearn.search.records import number
from metalearn.search.space import Space
from metalearn.search.unit_interval import values


class GridSampler(IndependentSampler):
    """Give the combinations in order, the last hyperparameter fastest: trial n takes combination n.

    Optuna's own sampler ends a study by itself, which a study with controls and several workers cannot use.

    Args:
        space: discrete hyperparameters.
    """

    def __init__(self, space: Space):
        self._values = grid(space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the value of a hyperparameter in the combination of this trial."""
        place = number(trial)
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
    found = {parameter.name: values(parameter.distribution) for parameter in space.hyperparameters}
    for name, each in found.items():
        if each is None:
            raise UserError(f"search=grid: {name} is an interval; give range() or choice()")
    return {name: each for name, each in found.items() if each is not None}


def size(space: Space) -> int:
    """Return the number of combinations."""
    return math.prod(map(len, grid(space).values()))
