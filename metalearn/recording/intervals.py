"""95% confidence intervals of a mean over tasks."""

import math
from collections.abc import Sequence
from functools import cache
from statistics import fmean, stdev

LEVEL = 0.95


def interval(scores: Sequence[float], bounded: bool = True) -> float:
    """Half-width of the 95% interval of the mean over independent tasks, by Student's t.

    Equal scores have no spread to estimate the interval from. For scores in 0..1, it is then bounded by the number n of
    tasks: with 95% confidence, at most a share of 1 - 0.05^(1/n) of all tasks has another score (the exact one-sided
    bound of Clopper & Pearson, Biometrika 1934).

    Args:
        scores: one for each task.
        bounded: True if the scores lie in 0..1, such as accuracies.

    Returns:
        NaN for fewer than two tasks, or where a score is not finite.
    """
    n = len(scores)
    if n < 2 or not all(map(math.isfinite, scores)):
        return math.nan
    if bounded and min(scores) == max(scores):
        return float(1 - (1 - LEVEL) ** (1 / n)) * max(scores[0], 1 - scores[0])
    return student_t(n - 1) * stdev(scores) / math.sqrt(n)


def paired(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Mean of a - b over the same tasks, and the half-width of its 95% interval.

    Raises:
        ValueError: the numbers of tasks differ.
    """
    differences = [x - y for x, y in zip(a, b, strict=True)]
    return fmean(differences), interval(differences, bounded=False)


@cache
def student_t(degrees: int) -> float:
    """The two-sided 95% quantile of Student's t distribution with this many degrees of freedom."""
    low, high = 0.0, 13.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < LEVEL else (low, middle)
    return (low + high) / 2


def _within(t: float, degrees: int) -> float:
    """Probability of |T| < t (Abramowitz & Stegun, "Handbook of mathematical functions", 26.7.3 and 26.7.4)."""
    angle = math.atan2(t, math.sqrt(degrees))
    cos, odd = math.cos(angle), degrees % 2
    term = cos if odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(3 if odd else 2, degrees - 1, 2):
        term *= cos * cos * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
