"""The verdict of a confirmation."""

import pytest

from metalearn.search.confirm import verdict


@pytest.mark.parametrize(
    ("gain", "ci95", "words"),
    [(0.02, 0.01, "better than"), (0.01, 0.02, "within noise of"), (-0.04, 0.01, "worse than")],
)
def test_the_verdict_goes_by_the_paired_interval(gain, ci95, words):
    assert verdict(gain, ci95).startswith(f"is {words} the default settings")
