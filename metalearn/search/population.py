"""Population-based training: settings that change in mid-training, their perturbation, and the schedule of a winner.

Jaderberg et al., "Population based training of neural networks", 2017 (arxiv.org/abs/1711.09846). Ray Tune decides who
takes over whom (metalearn.search.on_ray); here is what is changed, and by how much.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from metalearn.algorithms.parameters import MetaParameters
from metalearn.lifecycle.setup import prepare
from metalearn.runtime.errors import UserError
from metalearn.search.engine_settings import PopulationSettings
from metalearn.search.space import Hyperparameter, Space
from metalearn.search.unit_interval import from_unit, values

# The settings that may change in mid-training, by the prefixes of their names. A resumed run
# (metalearn.lifecycle.run_folder) accepts any change that keeps names and shapes of the meta-parameters. Of those, the
# ones that make other validation tasks, other data or another schedule of steps are left out: the members of a
# population would no longer be comparable. So are those that replace a class: no optimizer can use another's state
MAY_CHANGE = ("algo.", "outer.")
_CLASSES = ("algo._target_", "algo.inner_optimizer", "algo.inner_optimizer.name", "algo.inner_optimizer._target_",
            "outer.optimizer", "outer.optimizer.name")  # fmt: skip

Schedule = Sequence[tuple[int, Mapping[str, Any]]]  # settings by the meta-step from which they hold, in order


def check(space: Space, fixed: Sequence[str], compose: Callable[[Sequence[str]], dict[str, Any]]) -> None:
    """Check that every hyperparameter of a space can change in mid-training.

    Args:
        space: of the search.
        fixed: words of the command line that all trials share.
        compose: returns the configuration of some words.

    Raises:
        UserError: one cannot, or changes nothing any more once a training has begun.
    """
    for parameter in space.hyperparameters:
        name = parameter.name
        if not name.startswith(MAY_CHANGE) or name in _CLASSES:
            raise UserError(f"search=pbt: {name} cannot change in mid-training; the numbers and choices of algo.* and "
                            "outer.* can, such as outer.optimizer.lr and algo.inner_optimizer.lr")  # fmt: skip
        if parameter.condition:
            raise UserError(f"search=pbt: {name} depends on a choice; its trials take over each other's settings, so "
                            "that all have the same ones")  # fmt: skip
    for parameter in space.hyperparameters:
        one, other = (_start([*fixed, parameter.override(from_unit(unit, parameter.distribution))], compose)
                      for unit in (0.0, 1.0))  # fmt: skip
        if one.shapes() != other.shapes():
            raise UserError(f"search=pbt: {parameter.name} cannot change in mid-training: it changes the shapes of "
                            "what is learned")  # fmt: skip
        if not all(torch.equal(a, b) for a, b in zip(one.tensors(), other.tensors(), strict=True)):
            raise UserError(f"search=pbt: {parameter.name} cannot change in mid-training: it is where a learned value "
                            "begins")  # fmt: skip


def _start(words: Sequence[str], compose: Callable[[Sequence[str]], dict[str, Any]]) -> MetaParameters:
    return prepare(compose(words)).phase.outer.params


def perturbed(space: Space, found: Mapping[str, Any], settings: PopulationSettings,
              numbers: random.Random) -> dict[str, Any]:  # fmt: skip
    """Return settings near those of a good trial, inside the space.

    A number is multiplied by one of the factors, a choice moves to one beside it in the list; with a small probability
    either is drawn anew.

    Args:
        space: of the search.
        found: the settings of the good trial.
        settings: the factors, and the probability of a fresh draw.
        numbers: source of random numbers.
    """
    return {p.name: _perturbed(p, found[p.name], settings, numbers) for p in space.hyperparameters}


def _perturbed(parameter: Hyperparameter, value: Any, settings: PopulationSettings, numbers: random.Random) -> Any:
    distribution = parameter.distribution
    if numbers.random() < settings.resample:
        return from_unit(numbers.random(), distribution)
    if isinstance(distribution, CategoricalDistribution):
        place = distribution.choices.index(value) + numbers.choice([-1, 1])
        return distribution.choices[min(max(place, 0), len(distribution.choices) - 1)]
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    factor = numbers.choice(settings.factors)
    moved = min(max(value * factor, distribution.low), distribution.high)
    grid = values(distribution)
    if grid is None:
        return moved
    nearest = min(grid, key=lambda one: abs(one - moved))
    if nearest == value and factor != 1:  # too small a step for this grid: the next value
        place = grid.index(nearest) + (1 if (factor > 1) == (value >= 0) else -1)
        nearest = grid[min(max(place, 0), len(grid) - 1)]
    return nearest


def extended(schedule: Schedule, step: int, settings: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """Return a schedule with the settings that hold from a meta-step on, if they differ from the last ones.

    Settings that were replaced before any meta-step are dropped.
    """
    before = [(start, dict(earlier)) for start, earlier in schedule if start < step]
    return before if before and before[-1][1] == settings else [*before, (step, dict(settings))]
