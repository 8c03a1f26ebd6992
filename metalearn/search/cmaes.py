"""CMA-ES without a stored state: each draw replays the study.

Optuna's own sampler keeps its optimizer as a pickle in the study, and unpickling what lies in a file or a database runs
code. Here the optimizer (Hansen, "The CMA evolution strategy: a tutorial", 2016; package `cmaes`) is made anew before
every trial and told the finished trials of the study, generation by generation.
"""

from typing import Any

import numpy as np
from cmaes import CMA
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from metalearn.search.rewards import rewarded
from metalearn.search.space import Space
from metalearn.search.unit_interval import from_unit, to_unit


class ReplayedCmaEs(BaseSampler):
    """CMA-ES over intervals and ranges, in the unit cube (logarithmic where the hyperparameter is).

    Args:
        space: what is searched.
        seed: of this trial's draw.
        sigma: initial standard deviation, in units of the cube.
        population: trials in a generation; None: 4 + 3 log(dimensions).
    """

    def __init__(self, space: Space, seed: int, sigma: float = 0.25, population: int | None = None):
        self._space = {parameter.name: parameter.distribution for parameter in space.hyperparameters}
        self._seed, self._sigma, self._population = seed, sigma, population
        self._random = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return all hyperparameters."""
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw a point of the present generation."""
        size = len(search_space)
        bounds = np.array([[0.0, 1.0]] * size)
        cma = CMA(np.full(size, 0.5), self._sigma, bounds=bounds, seed=0, population_size=self._population)
        told = [(_point(trial, search_space), -reward) for trial, reward in rewarded(study)]
        for start in range(0, len(told) - cma.population_size + 1, cma.population_size):
            cma.tell(told[start : start + cma.population_size])
            if cma.should_stop():
                return {}  # converged: draw at random
        cma.reseed_rng(self._seed)
        point = cma.ask()
        return {name: from_unit(float(u), d) for u, (name, d) in zip(point, search_space.items(), strict=True)}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw at random after convergence."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)


def _point(trial: FrozenTrial, space: dict[str, BaseDistribution]) -> np.ndarray:
    return np.array([to_unit(trial.params[name], distribution) for name, distribution in space.items()])
