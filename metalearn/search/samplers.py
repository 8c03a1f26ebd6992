"""The samplers of a search by name: Optuna's, and those of this package.

Each draw has a new sampler. Its random numbers are a function of (seed, trial number, hyperparameter), and it reads all
else from the study. A study that was killed and resumed therefore draws the same trials as one that was never stopped.
"""

import hashlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from metalearn.runtime.errors import UserError
from metalearn.search.cmaes import ReplayedCmaEs
from metalearn.search.grid import GridSampler, grid
from metalearn.search.policy_gradient import PolicyGradientSampler
from metalearn.search.sobol import SobolSampler
from metalearn.search.space import Space


class _Genetic(optuna.samplers.NSGAIISampler):
    """NSGA-II with its parents in the order of their numbers, when they are selected and when they are read again."""

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """Return the parents of a generation."""
        return sorted(super().get_parent_population(study, generation), key=lambda trial: trial.number)


class _GaussianProcess(optuna.samplers.GPSampler):
    """Optuna's sampler, which does not see the trial that is drawn.

    After a kill in the middle of a draw, Optuna's own would count that trial among the others.
    """

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw the hyperparameters together."""
        others: Any = _Others(study, trial.number)
        return super().sample_relative(others, trial, search_space)


class _Others:
    """A study without one of its trials."""

    def __init__(self, study: Study, number: int):
        self._study, self._number = study, number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(self, *args: Any, **settings: Any) -> list[FrozenTrial]:
        return [trial for trial in self._study._get_trials(*args, **settings) if trial.number != self._number]


Options = Mapping[str, Any]
Factory = Callable[[Space, int, int, Options], BaseSampler]  # (space, study's seed, trial's seed, options)

SAMPLERS: dict[str, Factory] = {
    "grid": lambda space, study, trial, options: GridSampler(space, **options),
    "random": lambda space, study, trial, options: optuna.samplers.RandomSampler(seed=trial, **options),
    "qmc": lambda space, study, trial, options: SobolSampler(space, seed=study, **options),
    "tpe": lambda space, study, trial, options: optuna.samplers.TPESampler(seed=trial, **options),
    "gp": lambda space, study, trial, options: _GaussianProcess(seed=trial, **options),
    "cmaes": lambda space, study, trial, options: ReplayedCmaEs(space, seed=trial, **options),
    "genetic": lambda space, study, trial, options: _Genetic(seed=trial, **options),
    "policy_gradient": lambda space, study, trial, options: PolicyGradientSampler(seed=trial, **options),
}
JOINT = ("gp", "cmaes", "genetic")  # draw all hyperparameters together; would draw a conditional space at random
ONE_OBJECTIVE = ("cmaes", "policy_gradient")


class SeededSampler(BaseSampler):
    """Delegate each trial to a sampler made for it alone.

    Args:
        name: one of SAMPLERS.
        space: what is searched.
        seed: of the study.
        options: of the sampler.
        objectives: number of objectives.

    Raises:
        UserError: no such sampler or option, or one that cannot take the space or the objectives.
    """

    def __init__(self, name: str, space: Space, seed: int, options: Options, objectives: int = 1):
        _check(name, space, objectives)
        self._name, self._space, self._seed, self._options = name, space, seed, options
        self._made: tuple[tuple[int, str], BaseSampler] | None = None
        self._of(0)  # a wrong option is refused before any trial

    def _of(self, number: int, name: str = "") -> BaseSampler:
        """Return the sampler of a trial, for one hyperparameter or for all that it draws together."""
        if self._made is None or self._made[0] != (number, name):
            digest = hashlib.sha256(f"{self._seed}/{number}/{name}".encode()).digest()
            seed = int.from_bytes(digest[:4], "little") >> 1
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                try:
                    made = SAMPLERS[self._name](self._space, self._seed, seed, self._options)
                except (TypeError, ValueError) as error:
                    raise UserError(f"search.options: {error}") from error
            self._made = (number, name), made
        return self._made[1]

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Delegate."""
        return self._of(trial.number).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Delegate."""
        return self._of(trial.number).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Delegate."""
        return self._of(trial.number, param_name).sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Delegate."""
        self._of(trial.number).before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: Any, values: Any) -> None:
        """Delegate."""
        self._of(trial.number).after_trial(study, trial, state, values)


def _check(name: str, space: Space, objectives: int) -> None:
    """Raise UserError where a sampler cannot take a space."""
    if name not in SAMPLERS:
        raise UserError(f"search.sampler={name}: no such sampler; there are {', '.join(SAMPLERS)}")
    parameters = space.hyperparameters
    if objectives > 1 and name in ONE_OBJECTIVE:
        raise UserError(f"search={name}: takes one objective; for several take tpe, genetic or random")
    if name == "grid":
        grid(space)
    if name in JOINT and space.conditional:
        dependent = next(p.name for p in parameters if p.condition)
        raise UserError(f"search={name}: would draw {dependent}, which depends on a choice, at random; take tpe, "
                        "random or policy_gradient")  # fmt: skip
    choices = [p.name for p in parameters if isinstance(p.distribution, CategoricalDistribution)]
    if name == "cmaes" and choices:
        raise UserError(f"search=cmaes: would draw {choices[0]}, a choice, at random; fix it, or take tpe, genetic or "
                        "policy_gradient")  # fmt: skip
