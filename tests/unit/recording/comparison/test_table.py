"""The table of a comparison: its columns, intervals and width."""

import json
import math
import re

import pytest

from metalearn.recording.comparison.formats import as_markdown
from metalearn.recording.comparison.groups import group_runs, varying
from metalearn.recording.comparison.pivot import pivot
from metalearn.recording.comparison.runs import read_runs
from metalearn.recording.comparison.show import show
from metalearn.recording.comparison.table import compare_runs, spell
from tests.helpers.records import edit, made, mixed, untested


def test_seeds_are_one_row_and_the_best_by_validation_is_first(sweep):
    table = compare_runs(read_runs([sweep]))
    assert list(table.columns[:3]) == ["algorithm", "algo.inner_optimizer.lr", "run"]
    assert [row[:2] for row in table.rows] == [["anil", "0.1"], ["maml", "0.1"], ["anil", "0.4"]]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert rows[0]["validation"] == "96.00 ± 1.00% *" and rows[0]["support"] == "50.00 ± 3.00%"
    assert rows[1]["seeds"] == "2" and rows[1]["validation"] == f"92.00 ± {100 * 0.02 * math.sqrt(2):.2f}%"
    assert rows[2]["meta-steps"] == "200 of 300"
    assert "glyphs, 5-way, 1-shot, transductive batch norm" in table.title


def test_a_published_result_stands_beside_the_test(tmp_path):
    source = {"paper_accuracy": 0.987, "paper_source": "Finn et al. 2017, table 1"}
    made(tmp_path / "a", "maml", 0.1, 0, 0.9, [0.8, 0.9], **source)
    made(tmp_path / "b", "anil", 0.1, 0, 0.8, [0.8, 0.9])
    made(tmp_path / "c", "maml", 0.2, 0, 0.7, [0.8, 0.9], **source, paper_ci95=0.004)
    table = compare_runs(read_runs([tmp_path]))
    place = list(table.columns).index("paper")
    assert table.columns[place - 1] == "test" and [row[place] for row in table.rows] == ["98.70%", "", "98.70 ± 0.40%"]
    assert "paper: Finn et al. 2017, table 1" in table.notes


def test_a_column_of_means_says_which_interval_it_shows(sweep):
    table = compare_runs(read_runs([sweep]))
    assert [row[table.columns.index("seeds")] for row in table.rows] == ["1", "2", "1"]
    assert "± with 2 or more seeds: the standard deviation over seeds" in table.notes
    assert "± with 1 seed: the 95% interval over tasks" in table.notes
    alone = compare_runs([run for run in read_runs([sweep]) if run.name in "23"])
    assert "± is the 95% interval over tasks" in alone.notes and "seeds" not in alone.columns


def test_errors_of_regression_are_shown_and_the_lowest_is_the_best(tmp_path):
    for name, score in (("maml", 0.5), ("anil", 0.25)):
        made(tmp_path / name, name, 0.1, 0, 0.0, [score, score + 0.1])
        path = tmp_path / name / "result.json"
        others = {"test_accuracy", "val_accuracy", "test_accuracy_support", "test_ci95_support"}
        result = {key: value for key, value in json.loads(path.read_text()).items() if key not in others}
        path.write_text(json.dumps(result | {"val_mse": score, "test_mse": score}))
    table = compare_runs(read_runs([tmp_path]))
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert rows[0]["validation"] == "0.2500 ± 0.0100 *" and rows[1]["test"] == "0.5000 ± 0.0200"
    assert rows[1]["difference"].startswith("+0.25 ± ")
    (crossed,) = pivot(read_runs([tmp_path]), "algo", "way")
    assert crossed.title == "validation mse: algo by way" and [row[1] for row in crossed.rows] == ["0.2500 *", "0.5000"]


def test_an_evaluation_has_no_validation_score(tmp_path):
    made(tmp_path / "run", "maml", 0.1, 0, 0.0, [0.5, 0.6])
    path = tmp_path / "run" / "result.json"
    kept = {k: v for k, v in json.loads(path.read_text()).items() if not k.startswith("val_") and "accuracy" not in k}
    path.write_text(json.dumps(kept | {"test_mse": 0.55}))
    table = compare_runs(read_runs([tmp_path]))
    assert dict(zip(table.columns, table.rows[0], strict=True))["test"] == "0.5500 ± 0.0200"


def test_a_run_without_a_test_has_no_column_for_that(tmp_path):
    for name, lr in (("a", 0.1), ("b", 0.2)):
        made(tmp_path / name, "maml", lr, 0, 0.9, [0.8, 0.9])
    untested(tmp_path / "b")
    table = compare_runs(read_runs([tmp_path]))
    assert list(table.columns).count("test") == 1 and table.columns.index("test") > table.columns.index("validation")
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert sorted(row["test"] for row in rows) == ["", "85.00 ± 2.00%"]


def test_mixed_runs_fit_the_page_and_no_score_is_cut(tmp_path, capfd):
    mixed(tmp_path)
    runs = read_runs([tmp_path])
    show(runs, None)
    lines = capfd.readouterr().out.splitlines()
    table = compare_runs(runs)
    scores = [cell for row in table.rows for name, cell in zip(table.columns, row, strict=True)
              if name in ("validation", "test", "support")]  # fmt: skip
    assert all(any(score in line for line in lines) for score in scores) and not any("…" in line for line in lines)
    header = next(i for i, line in enumerate(lines) if "validation" in line)
    assert max(len(line.rstrip()) for line in lines[header : header + 2 + len(table.rows)]) <= 160
    text = "\n".join(lines)
    for run in runs:
        assert (
            run.name in text
            and f"data.a_setting_with_a_long_name={run.settings['data.a_setting_with_a_long_name']}" in text
        )


def test_a_wide_table_is_written_whole_into_a_file(tmp_path, capfd):
    made(tmp_path / ("long" * 60), "maml", 0.1, 0, 0.9, [0.8, 0.9])
    show(read_runs([tmp_path]), None)
    assert "long" * 60 in capfd.readouterr().out


def read(table):
    """The settings of each row as a reader finds them: in the columns, the common line and the line of the row."""
    common = next((line.partition(": ")[2] for line in table.notes if line.startswith("for every row, unless")), "")
    found = []
    for row in table.rows:
        cells = dict(zip(table.columns, row, strict=True))
        (line,) = [note for note in table.notes if note.startswith(f"row {cells['row']}: ")]
        facts = re.split(r", (?=[\w.]+=|no )", f"{common}, {line.partition('; ')[2]}")
        own = {name: cell for name, cell in cells.items() if cell and (name in ("algorithm", "way") or "." in name)}
        own |= dict(fact.split("=", 1) for fact in facts if "=" in fact)
        found.append({name: value for name, value in own.items() if f"no {name}" not in facts})
    return found


@pytest.mark.parametrize("width", [60, 160])
def test_a_setting_is_not_read_into_a_row_that_lacks_it(width, tmp_path):
    mixed(tmp_path)
    for i, run in enumerate(sorted(tmp_path.iterdir())):
        rare, usual = {"algo__inner_optimizer__momentum": 0.9}, {"outer__warmup": 10}
        words = ["algo.inner_optimizer.momentum=1", "outer.warmup=1"]
        edit(run, words, **(rare if i < 3 else {}), **(usual if i > 3 else {}))
    runs = read_runs([tmp_path])
    names, table = varying(runs), compare_runs(runs, width)
    assert {"algo.inner_optimizer.momentum", "outer.warmup"} <= {*names}
    assert not {"algo.inner_optimizer.momentum", "outer.warmup"} & {*table.columns} or width > 60
    for group, own in zip(group_runs(runs), read(table), strict=True):
        stated = {name: spell(group.settings[name]) for name in names if name in group.settings}
        assert own == {{"algo": "algorithm"}.get(name, name): value for name, value in stated.items()}
    assert "set only for the rows whose lines below name them: " in as_markdown(table)
    assert "no outer.warmup" in as_markdown(table) and "no algo" not in as_markdown(table)


def test_seeds_of_which_one_diverged_have_no_spread(tmp_path):
    for seed, value in enumerate((0.5, math.inf)):
        made(tmp_path / str(seed), "maml", 0.1, seed, value, [0.5, 0.6])
    (group,) = group_runs(read_runs([tmp_path]))
    mean, spread = group.score("val")
    assert mean == math.inf and math.isnan(spread) and len(compare_runs(read_runs([tmp_path])).rows) == 1
