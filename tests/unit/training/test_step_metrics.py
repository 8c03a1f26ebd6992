"""Metrics since the last row."""

import torch

from metalearn.training.step_metrics import StepMetrics


def step(loss=1.0, gradient=2.0, weight=3.0):
    return {"loss": torch.tensor(loss), "grad_norm": torch.tensor(gradient), "weight_norm": torch.tensor(weight)}


def test_a_row_has_the_means_and_begins_the_next_one():
    metrics = StepMetrics()
    metrics.add(step(loss=1.0))
    metrics.add(step(loss=3.0, gradient=4.0))
    assert metrics.means(2) == {"train_loss": 2.0, "grad_norm": 3.0}
    assert len(metrics) == 0 and metrics.invalid is None


def test_the_first_invalid_value_is_named_and_kept():
    metrics = StepMetrics()
    for values in (step(), step(weight=float("inf")), step(loss=float("nan"))):
        metrics.add(values)
    metrics.find_invalid(13)
    assert metrics.invalid == "a weight of meta-step 12 is infinite"
    metrics.add(step(gradient=float("nan")))
    metrics.means(14)
    assert metrics.invalid == "a weight of meta-step 12 is infinite"


def test_a_restored_row_continues():
    metrics, other = StepMetrics(), StepMetrics()
    metrics.add(step(loss=1.0))
    other.restore(metrics.stacked(), 5.0)
    other.add(step(loss=2.0))
    assert other.seconds == 5.0 and other.means(2)["train_loss"] == 1.5
