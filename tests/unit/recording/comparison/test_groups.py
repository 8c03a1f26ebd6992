"""Groups of seeds, and paired differences."""

import pytest

from metalearn.recording.comparison.groups import best_of, difference, group_runs
from metalearn.recording.comparison.runs import read_runs
from metalearn.recording.intervals import interval
from tests.helpers.records import made, untested


def test_differences_are_paired_over_the_same_tasks(sweep):
    groups = group_runs(read_runs([sweep]))
    (best,) = best_of(groups).values()
    mean, width, pairs = difference(groups[1], best)  # seed 0 alone: the best has no seed 1
    expected = [-0.1, 0.0, 0.0, -0.1]
    assert (mean, pairs) == (pytest.approx(-0.05), 4) and width == pytest.approx(interval(expected, bounded=False))
    assert width < interval([0.8, 0.9, 1.0, 0.7])


def test_other_tasks_are_not_paired(tmp_path):
    made(tmp_path / "a", "maml", 0.1, 0, 0.9, [0.8, 0.9])
    made(tmp_path / "b", "anil", 0.1, 0, 0.8, [0.8, 0.9], test_digest="other")
    made(tmp_path / "c", "anil", 0.2, 0, 0.8, [0.8, 0.9], way=20)
    groups = group_runs(read_runs([tmp_path]))
    assert all(difference(a, b) is None for a in groups for b in groups if a is not b)


def test_a_run_made_twice_is_no_second_seed(tmp_path):
    for name, val in (("search", 0.9), ("final", 0.9), ("other code", 0.7)):
        made(tmp_path / name, "maml", 0.1, 0, val, [0.8, 0.9])
    untested(tmp_path / "search")
    first, second = group_runs(read_runs([tmp_path]))
    assert sorted(run.name for run in first.runs) == ["final", "search"] and len(first.results) == 1
    assert first.score("test") == (pytest.approx(0.85), 0.02)
    assert [run.name for run in second.runs] == ["other code"] and second.score("val") == (0.7, 0.01)
