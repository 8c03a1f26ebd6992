"""Hyperparameter search by policy gradient (REINFORCE), as a sampler of Optuna.

An action is one configuration and its reward the validation score. Each hyperparameter has an actor of its own:
a categorical distribution over discrete values, with logits that start equal, or a Gaussian over an interval, whose
mean and standard deviation are learned. Both follow E[reward * d log p(action)], the gradient of the expected reward
(Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning", Machine Learning
1992, theorem 1; for discrete and continuous hyperparameters together Odom, "Simultaneous continuous/discrete
hyperparameter tuning with policy gradients", 2020).
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial
from scipy.stats import truncnorm

from metalearn.search.independent import IndependentSampler
from metalearn.search.rewards import rewarded
from metalearn.search.unit_interval import from_unit, to_unit, values

DISCRETE = 32  # a range of at most this many values has a categorical actor, a longer one a Gaussian


@dataclass
class CategoricalActor:
    """A softmax over the values of a discrete hyperparameter."""

    values: Sequence[Any]
    logits: np.ndarray = field(init=False)  # [values]

    def __post_init__(self) -> None:
        self.logits = np.zeros(len(self.values))

    @property
    def probabilities(self) -> np.ndarray:
        """Return the probability of each value, [values]."""
        weights = np.exp(self.logits - self.logits.max())
        return np.asarray(weights / weights.sum())

    def sample(self, random: np.random.Generator) -> Any:
        """Draw a value."""
        return self.values[int(random.choice(len(self.values), p=self.probabilities))]

    def update(self, actions: Sequence[Any], rewards: np.ndarray, rate: float) -> None:
        """Take one step along the mean over a batch of reward * d log p(action) / d logits.

        Args:
            actions: values drawn, [B].
            rewards: normalized, [B].
            rate: learning rate.
        """
        chosen = np.array([list(self.values).index(action) for action in actions])
        scores = np.eye(len(self.values))[chosen] - self.probabilities
        self.logits += rate * (rewards[:, None] * scores).mean(0)


@dataclass
class GaussianActor:
    """A Gaussian over an interval, truncated to it, on the hyperparameter's own scale.

    Args:
        distribution: the interval; logarithmic, or with a step, where the hyperparameter is.
        mean, deviation: of the Gaussian, in units of the interval.
    """

    distribution: FloatDistribution | IntDistribution
    mean: float = 0.5
    deviation: float = 0.3
    smallest: float = 0.02  # of the standard deviation, so that the search never ends in one point

    def sample(self, random: np.random.Generator) -> float:
        """Draw a value."""
        ends = (np.array([0.0, 1.0]) - self.mean) / self.deviation
        unit = truncnorm.ppf(random.uniform(), *ends, loc=self.mean, scale=self.deviation)
        return float(from_unit(float(np.clip(unit, 0, 1)), self.distribution))

    def update(self, actions: Sequence[float], rewards: np.ndarray, rate: float) -> None:
        """Take one step along the mean over a batch of reward * d log p(action).

        The derivatives by the mean and by the logarithm of the standard deviation are those of the truncated Gaussian.
        They are scaled by the variance and by 1/2, as in the natural gradient of a Gaussian that is not truncated.

        Args:
            actions: values drawn, [B].
            rewards: normalized, [B].
            rate: learning rate.
        """
        z = (np.array([to_unit(action, self.distribution) for action in actions]) - self.mean) / self.deviation
        a, b = (0 - self.mean) / self.deviation, (1 - self.mean) / self.deviation
        density = [math.exp(-e * e / 2) / math.sqrt(2 * math.pi) for e in (a, b)]
        mass = (math.erf(b / math.sqrt(2)) - math.erf(a / math.sqrt(2))) / 2
        by_mean = z - (density[0] - density[1]) / mass  # times 1 / deviation, which the unit of the step takes away
        by_log_deviation = z * z - 1 - (a * density[0] - b * density[1]) / mass
        self.mean = float(np.clip(self.mean + rate * self.deviation * (rewards * by_mean).mean(), 0, 1))
        grown = self.deviation * math.exp(rate * float((rewards * by_log_deviation).mean()) / 2)
        self.deviation = float(np.clip(grown, self.smallest, 1.0))


Actor = CategoricalActor | GaussianActor


class PolicyGradientSampler(IndependentSampler):
    """REINFORCE over the hyperparameters of a study.

    The sampler keeps no state. Before each trial it replays the finished trials of the study in the order of their
    numbers and updates the actors after every `batch` of them, so that a study resumed or shared by several workers
    has the policy of its history.

    Args:
        seed: of this trial's draws.
        rate: learning rate of the actors.
        batch: trials in an update; rewards are normalized to mean 0 and standard deviation 1 over them.
    """

    def __init__(self, seed: int, rate: float = 1.0, batch: int = 5):
        if rate <= 0 or batch < 2:
            raise ValueError(f"rate={rate} batch={batch}: the rate must be above 0, the batch at least 2")
        self._seed, self.rate, self.batch = seed, rate, batch

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw the value of one hyperparameter from its actor."""
        actor = self.actor(study, param_name, param_distribution)
        value = actor.sample(np.random.default_rng(self._entropy(trial.number, param_name)))
        return int(value) if isinstance(param_distribution, IntDistribution) else value

    def actor(self, study: Study, name: str, distribution: BaseDistribution) -> Actor:
        """Build the actor of a hyperparameter from the study's finished trials."""
        actor = _fresh(distribution)
        scored = rewarded(study)
        for start in range(0, len(scored) - self.batch + 1, self.batch):
            part = scored[start : start + self.batch]
            rewards = np.array([reward for _, reward in part])
            spread = rewards.std()
            if spread == 0:
                continue
            rewards = (rewards - rewards.mean()) / spread
            took = [i for i, (trial, _) in enumerate(part) if name in trial.params]  # conditional ones are absent
            if took:
                actor.update([part[i][0].params[name] for i in took], rewards[took], self.rate)
        return actor

    def _entropy(self, number: int, name: str) -> list[int]:
        """Make the random numbers a function of the seed, the trial and the hyperparameter."""
        digest = hashlib.sha256(f"{self._seed}/{number}/{name}".encode()).digest()
        return [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]


def _fresh(distribution: BaseDistribution) -> Actor:
    """Return the actor of a hyperparameter before any trial."""
    if isinstance(distribution, CategoricalDistribution):
        return CategoricalActor(distribution.choices)
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    discrete = values(distribution)
    if discrete is not None and len(discrete) <= DISCRETE and not distribution.log:
        return CategoricalActor(discrete)
    return GaussianActor(distribution)
