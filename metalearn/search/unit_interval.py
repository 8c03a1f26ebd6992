"""Hyperparameters as numbers in the unit interval, on their own scale: logarithmic where they are tagged so."""

import math
from decimal import Decimal
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution


def from_unit(unit: float, distribution: BaseDistribution) -> Any:
    """Return the value that a number in [0, 1] stands for. Each discrete value has an equal part of the interval."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[min(int(unit * len(distribution.choices)), len(distribution.choices) - 1)]
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high = _ends(distribution)
    value = low + unit * (high - low)
    value = math.exp(value) if distribution.log else value
    if distribution.step:
        value = distribution.low + round((value - distribution.low) / distribution.step) * distribution.step
    value = min(max(value, distribution.low), distribution.high)
    return int(value) if isinstance(distribution, IntDistribution) else value


def values(distribution: BaseDistribution) -> list[Any] | None:
    """Return all values of a choice or a range in order; None for an interval."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, step = distribution.low, distribution.step
    if step is None:
        return None
    count = round((distribution.high - low) / step) + 1
    if isinstance(distribution, IntDistribution):
        return [int(low + i * step) for i in range(count)]
    return [float(Decimal(str(low)) + i * Decimal(str(step))) for i in range(count)]  # 0.3, not 0.30000000000000004


def to_unit(value: float, distribution: BaseDistribution) -> float:
    """Return the number in [0, 1] that stands for a value of an interval or a range."""
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high = _ends(distribution)
    position = math.log(value) if distribution.log else value
    return (position - low) / (high - low) if high > low else 0.5


def _ends(distribution: FloatDistribution | IntDistribution) -> tuple[float, float]:
    """Return the ends of the scale; with steps, half a step more at both."""
    half = (distribution.step or 0) / 2
    low, high = distribution.low - half, distribution.high + half
    return (math.log(low), math.log(high)) if distribution.log else (low, high)
