"""Confidence intervals over tasks."""

import math

import pytest
import torch

from metalearn.recording.intervals import interval, paired, student_t


@pytest.mark.parametrize(
    ("degrees", "published"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (11, 2.201), (30, 2.042), (120, 1.980), (599, 1.964)],
)
def test_the_quantiles_are_those_of_the_tables(degrees, published):
    assert student_t(degrees) == pytest.approx(published, abs=6e-4)


def test_the_interval_of_four_tasks_worked_out_by_hand():
    assert interval([0.2, 0.4, 0.6, 0.8]) == pytest.approx(3.182446 * 0.2581989 / 2, rel=1e-6)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    draws = torch.randn(4000, 6, generator=torch.Generator().manual_seed(0))
    covered = [abs(row.mean().item()) < interval(row.tolist(), bounded=False) for row in draws]
    assert sum(covered) / 4000 == pytest.approx(0.95, abs=0.012)  # a normal interval would cover 0.89


@pytest.mark.parametrize(("scores", "width"), [([0.32] * 12, (1 - 0.05 ** (1 / 12)) * 0.68), ([1.0] * 600, 0.00498)])
def test_equal_scores_of_few_tasks_claim_no_certainty(scores, width):
    assert interval(scores) == pytest.approx(width, rel=1e-2)


def test_one_task_or_a_nan_has_no_interval():
    assert math.isnan(interval([0.5])) and math.isnan(interval([0.5, math.nan], bounded=False))


def test_a_paired_interval_is_that_of_the_differences():
    a, b = [0.9, 0.5, 0.7], [0.8, 0.45, 0.55]
    mean, width = paired(a, b)
    assert mean == pytest.approx(0.1) and width == pytest.approx(4.302653 * 0.05 / math.sqrt(3), rel=1e-6)
    assert width < interval(a) / 3
