"""The order of trials, where scores are equal but for rounding; and tables for people."""

import math

import pytest

from metalearn.search import columns
from metalearn.search.competition import plan
from metalearn.search.ranking import ranked
from metalearn.search.records import number
from metalearn.search.results import best
from tests.unit.search.toys import ACCURACY, MSE, Toys, run, study_in


@pytest.mark.parametrize(("losses", "order"), [
    ({0: 0.3, 1: 0.1, 2: 0.2}, [1, 2, 0]),
    ({0: 0.5440000057, 1: 0.5440000028}, [0, 1]),  # the scores of a real study: 3e-9 apart
    ({0: 0.5, 1: 0.5 - 2e-6}, [1, 0]),
    ({2: 0.1, 1: 0.1 + 9e-7, 0: 0.1 + 18e-7}, [1, 2, 0]),  # no chain of small steps
    ({0: math.inf, 1: 0.1, 2: math.inf, 3: -math.inf}, [3, 1, 0, 2]),
    ({}, []),
])  # fmt: skip
def test_equal_but_for_rounding_is_equal(losses, order):
    assert ranked(losses) == order


def test_of_equal_models_the_earlier_is_promoted(tmp_path):
    competition = plan("halving", trials=3, iterations=3, every=1, factor=3, first=None, maximize=True)
    study = study_in(tmp_path, trials=3, competition=competition)
    toys = Toys(3, 1, lambda candidate: 0.456 + 3e-9 * candidate.number)
    run(study, toys)
    assert [toy.step for toy in toys.toys.values()] == [3, 1, 1]


@pytest.mark.parametrize("goal", [ACCURACY, MSE])
def test_of_equal_trials_the_earlier_is_the_best(goal):
    study = study_in(None, trials=3, goals=(goal,))
    sign = 1 if goal.maximize else -1
    run(study, lambda candidate: [0.5 + sign * 3e-9 * candidate.number])
    assert [number(trial) for trial in best(study, 3)] == [0, 1, 2]


def test_settings_have_their_shortest_names_and_four_digits():
    names = ["algo.inner_optimizer.lr", "outer.optimizer.lr", "algo.inner_steps", "way", "x.way"]
    assert columns.headings(names) == ["inner_optimizer.lr", "outer.optimizer.lr", "inner_steps", "way", "x.way"]
    assert columns.headings(["algo.inner_optimizer.lr"]) == ["lr"] and columns.headings(["lr", "lr"]) == ["lr", "lr"]
    shown = [columns.value(value) for value in (0.41234567, 1e-5, 123456.7, 3, True, "SGD", None)]
    assert shown == ["0.4123", "1e-05", "123457", "3", "True", "SGD", ""]
    assert [columns.score(value) for value in (0.5, 0.95123, 28000.0, 12.0)] == ["0.5000", "0.9512", "28000", "12.00"]
