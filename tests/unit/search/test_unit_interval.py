"""Hyperparameters as numbers in the unit interval: on their own scale, with an equal part for each discrete value."""

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from metalearn.search.unit_interval import from_unit, to_unit, values

NUMBERS = [FloatDistribution(-2, 3), FloatDistribution(0.01, 100, log=True), FloatDistribution(0, 1, step=0.25),
           IntDistribution(1, 7), IntDistribution(0, 100, step=10), IntDistribution(3, 3)]  # fmt: skip


@pytest.mark.parametrize("distribution", NUMBERS, ids=str)
def test_the_ends_and_the_way_back(distribution):
    assert from_unit(0.0, distribution) == pytest.approx(distribution.low)
    assert from_unit(1.0, distribution) == pytest.approx(distribution.high)
    for unit in np.linspace(0, 1, 23):
        value = from_unit(float(unit), distribution)
        assert distribution.low <= value <= distribution.high
        assert from_unit(to_unit(value, distribution), distribution) == pytest.approx(value)


def test_a_logarithmic_scale_has_its_middle_at_the_geometric_mean():
    assert from_unit(0.5, FloatDistribution(0.01, 100, log=True)) == pytest.approx(1)
    assert from_unit(0.5, FloatDistribution(0, 10)) == pytest.approx(5)


@pytest.mark.parametrize("distribution", [CategoricalDistribution(("a", "b", None)), *NUMBERS[2:5]], ids=str)
def test_each_discrete_value_has_an_equal_part(distribution):
    units = (np.arange(6000) + 0.5) / 6000
    found, counts = np.unique([str(from_unit(float(u), distribution)) for u in units], return_counts=True)
    assert len(found) == len(values(distribution)) and np.ptp(counts) <= 2


def test_values_of_a_range_in_order_and_none_of_an_interval():
    assert values(IntDistribution(1, 7, step=3)) == [1, 4, 7]
    assert values(FloatDistribution(0.1, 0.7, step=0.1)) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert values(CategoricalDistribution(("a", 1))) == ["a", 1]
    assert values(FloatDistribution(0, 1)) is None and values(FloatDistribution(0.1, 1, log=True)) is None
