"""Tables by two settings."""

import math

import pytest

from metalearn import compare
from metalearn.recording.comparison.pivot import pivot
from metalearn.recording.comparison.runs import read_runs
from metalearn.runtime.errors import UserError
from tests.helpers.records import edit, made


def test_a_sweep_over_two_settings_is_pivoted(sweep):
    (table,) = pivot(read_runs([sweep]), "algo", "algo.inner_optimizer.lr")
    seeds = f"92.00 ± {100 * 0.02 * math.sqrt(2):.2f}% (2 runs)"
    assert table.rows == [["anil", "96.00% *", "80.00%"], ["maml", seeds, ""]]
    with pytest.raises(UserError, match="no run has this setting; there are algo, "):
        pivot(read_runs([sweep]), "algo", "nothing")


def several(folder, *settings):
    """Make a run for each of these: way, lr, validation score, data set, meta-steps, seed."""
    for i, (way, lr, score, data, steps, seed) in enumerate(settings):
        made(folder / str(i), "maml", lr, seed, score, [0.5, 0.6], way=way, data=data, split=f"of {data}")
        edit(folder / str(i), [f"way={way}", f"steps={steps}"], way=way, steps=steps)
    return pivot(read_runs([folder]), "way", "algo.inner_optimizer.lr")


def test_the_best_of_each_way_is_marked(tmp_path, capfd):
    (table,) = several(tmp_path, *((way, lr, score, "glyphs", 300, 0) for way, lr, score in
                                   ((5, 0.1, 0.9), (5, 0.4, 0.8), (20, 0.1, 0.6), (20, 0.4, 0.7))))  # fmt: skip
    assert table.rows == [["5", "90.00% *", "80.00%"], ["20", "60.00%", "70.00% *"]]
    assert table.title == "validation accuracy: way by algo.inner_optimizer.lr"
    assert compare.main([str(tmp_path), "--pivot", "way", "algo.inner_optimizer.lr", "--markdown"]) == 0
    assert "| 20 | 60.00% | 70.00% * |" in capfd.readouterr().out


def test_a_cell_is_a_mean_over_seeds_alone(tmp_path):
    """Other data sets and other meta-steps have their own table."""
    tables = several(
        tmp_path, (5, 0.1, 0.9, "glyphs", 300, 0), (5, 0.1, 0.8, "glyphs", 300, 1), (5, 0.4, 0.7, "glyphs", 300, 0),
        (5, 0.1, 0.5, "omniglot", 300, 0), (20, 0.1, 0.4, "omniglot", 300, 0),
        (5, 0.1, 0.3, "glyphs", 20, 0), (5, 0.4, 0.2, "glyphs", 20, 0), (5, 0.1, 0.1, "glyphs", 40, 0),
    )  # fmt: skip
    title = "validation accuracy: way by algo.inner_optimizer.lr; data={}, split=of {}, steps={}"
    found = {table.title: table.rows for table in tables}
    assert found == {
        title.format("glyphs", "glyphs", 300): [["5", f"85.00 ± {10 * math.sqrt(0.5):.2f}% (2 runs) *", "70.00%"]],
        title.format("glyphs", "glyphs", 20): [["5", "30.00% *", "20.00%"]],
        title.format("omniglot", "omniglot", 300): [["5", "50.00%"], ["20", "40.00%"]],
    }
    assert "in no table: 1 more run; no two of these differ" in tables[-1].notes[-1]


def test_settings_that_differ_from_cell_to_cell_are_named(tmp_path):
    (table,) = several(tmp_path, (5, 0.1, 0.9, "glyphs", 300, 0), (20, 0.1, 0.8, "glyphs", 20, 0))
    assert "from cell to cell, these differ as well: steps" in table.notes


def test_a_setting_that_a_run_lacks_is_not_set(tmp_path):
    several(tmp_path, (5, 0.1, 0.9, "glyphs", 300, 0), (5, 0.1, 0.8, "glyphs", 300, 0))
    edit(tmp_path / "1", algo__last=None)
    (table,) = pivot(read_runs([tmp_path]), "algo.last", "seed")
    assert [*table.columns[1:]] == ["0"] and table.rows == [["not set", "90.00% *"], ["null", "80.00%"]]


def test_runs_that_no_table_compares_are_refused(tmp_path):
    message = (
        "--pivot way algo.inner_optimizer.lr: no two runs differ in these alone; they differ in data, split as well"
    )
    with pytest.raises(UserError, match=message):
        several(tmp_path, (5, 0.1, 0.9, "glyphs", 300, 0), (5, 0.1, 0.8, "omniglot", 300, 0))


def test_every_run_as_csv_has_no_pivot(sweep, capfd):
    assert compare.main([str(sweep), "--csv", "--pivot", "algo", "way"]) == 2
    assert "--csv has every run as a row" in capfd.readouterr().err


def test_data_sets_may_be_the_rows_with_their_splits(tmp_path):
    several(
        tmp_path, (5, 0.1, 0.9, "glyphs", 300, 0), (5, 0.1, 0.8, "omniglot", 300, 0), (5, 0.4, 0.7, "glyphs", 300, 0)
    )
    (table,) = pivot(read_runs([tmp_path]), "data", "algo.inner_optimizer.lr")
    assert table.rows == [["glyphs", "90.00% *", "70.00%"], ["omniglot", "80.00%", ""]]


def test_of_equal_cells_the_first_is_marked(tmp_path):
    (table,) = several(tmp_path, *((5, lr / 10, 0.9, "glyphs", 300, 0) for lr in range(1, 9)))
    assert table.rows == [["5", "90.00% *", *["90.00%"] * 7]]
