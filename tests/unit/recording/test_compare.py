"""Comparisons: seeds together, the best by validation, paired differences, every format, and what did not finish."""

import csv
import io
import json
import math
import sys

import pytest

from metalearn import compare
from metalearn.errors import UserError
from metalearn.recording.comparison.figure import PANELS, learning_curves
from metalearn.recording.comparison.formats import as_csv, as_latex, as_markdown
from metalearn.recording.comparison.groups import best_of, difference, group_runs, varying
from metalearn.recording.comparison.pivot import pivot
from metalearn.recording.comparison.runs import read_runs
from metalearn.recording.comparison.show import show
from metalearn.recording.comparison.sweep import Sweep, count_runs
from metalearn.recording.comparison.table import compare_runs
from metalearn.recording.intervals import interval
from metalearn.recording.job import JobRecord, read_job, write_job
from tests.helpers.folders import made


@pytest.fixture
def sweep(tmp_path):
    folder = tmp_path / "sweep"
    made(folder / "0", "maml", 0.1, 0, 0.90, [0.8, 0.9, 1.0, 0.7])
    made(folder / "1", "maml", 0.1, 1, 0.94, [0.9, 0.9, 0.9, 0.9])
    made(folder / "2", "anil", 0.1, 0, 0.96, [0.9, 0.9, 1.0, 0.8])
    made(folder / "3", "anil", 0.4, 0, 0.80, [0.5, 0.6, 0.7, 0.6], steps_taken=200)
    return folder


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
    table = compare_runs(read_runs([tmp_path]))
    place = list(table.columns).index("paper")
    assert table.columns[place - 1] == "test" and [row[place] for row in table.rows] == ["98.70%", ""]
    assert "paper: Finn et al. 2017, table 1" in table.notes


def test_settings_that_come_with_a_choice_are_no_columns(sweep):
    runs = read_runs([sweep])
    assert varying(runs) == [
        "algo",
        "algo.inner_optimizer.lr",
    ]  # meta_batch comes with algo; tracker and log_every are none


def test_settings_of_execution_that_change_no_result_are_no_columns(tmp_path):
    for name, engine in (
        ("a", {"chunk": 4, "kernel": "auto"}),
        ("b", {"chunk": 8, "cuda_graph": True, "kernel": "auto"}),
    ):
        made(tmp_path / name, "maml", 0.1, int(name == "b"), 0.9, [0.8, 0.9])
        path = tmp_path / name / "config.json"
        noted = json.loads(path.read_text())
        noted["config"]["engine"] = engine
        noted["overrides"] = [f"engine.chunk={engine['chunk']}"]
        path.write_text(json.dumps(noted))
    runs = read_runs([tmp_path])
    assert varying(runs) == [] and len(group_runs(runs)) == 1 and runs[0].settings["engine.kernel"] == "auto"


def test_differences_are_paired_over_the_same_tasks(sweep):
    groups = group_runs(read_runs([sweep]))
    (best,) = best_of(groups).values()
    mean, width, pairs = difference(groups[1], best)  # seed 0 alone: the best has no seed 1
    expected = [-0.1, 0.0, 0.0, -0.1]
    assert (mean, pairs) == (pytest.approx(-0.05), 4) and width == pytest.approx(interval(expected, bounded=False))
    assert width < interval([0.8, 0.9, 1.0, 0.7])


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
    crossed = pivot(read_runs([tmp_path]), "algo", "way")
    assert crossed.title == "validation mse: algo by way" and [row[1] for row in crossed.rows] == ["0.2500 *", "0.5000"]


def test_an_evaluation_has_no_validation_score(tmp_path):
    made(tmp_path / "run", "maml", 0.1, 0, 0.0, [0.5, 0.6])
    path = tmp_path / "run" / "result.json"
    kept = {k: v for k, v in json.loads(path.read_text()).items() if not k.startswith("val_") and "accuracy" not in k}
    path.write_text(json.dumps(kept | {"test_mse": 0.55}))
    table = compare_runs(read_runs([tmp_path]))
    assert dict(zip(table.columns, table.rows[0], strict=True))["test"] == "0.5500 ± 0.0200"


def test_other_tasks_are_not_paired(tmp_path):
    made(tmp_path / "a", "maml", 0.1, 0, 0.9, [0.8, 0.9])
    made(tmp_path / "b", "anil", 0.1, 0, 0.8, [0.8, 0.9], test_digest="other")
    made(tmp_path / "c", "anil", 0.2, 0, 0.8, [0.8, 0.9], way=20)
    groups = group_runs(read_runs([tmp_path]))
    assert all(difference(a, b) is None for a in groups for b in groups if a is not b)


def test_what_did_not_finish_is_listed(sweep):
    (sweep / "4").mkdir()
    (sweep / "4" / "config.json").write_text(json.dumps({"config": {"steps": 300}, "overrides": []}))
    (sweep / "4" / "metrics.csv").write_text("step,val_accuracy\n50,0.5\n")
    (sweep / "5").mkdir()
    (sweep / "5" / "result.json").write_text("{dam")
    write_job(sweep / "6", JobRecord("s", 6, ["way=99"], 2, "too many ways"))
    write_job(sweep / "7", JobRecord("s", 7, ["way=9"], 143, "stopped by SIGTERM at meta-step 7"))
    notes = "\n".join(compare_runs(read_runs([sweep])).notes)
    assert "4: unfinished: recorded up to meta-step 50 of 300" in notes
    assert "5: damaged record" in notes and "6: failed: too many ways" in notes
    assert "7: stopped by SIGTERM at meta-step 7" in notes


def test_evaluations_are_no_runs(sweep):
    place = sweep / "0" / "evaluations" / "way20"
    place.mkdir(parents=True)
    (place / "result.json").write_text((sweep / "0" / "result.json").read_text())
    assert len(read_runs([sweep])) == 4 and len(read_runs([sweep], evaluations=True)) == 5


def test_the_formats(sweep):
    runs = read_runs([sweep])
    table = compare_runs(runs)
    lines = as_markdown(table).splitlines()
    assert lines[3] == "|---" * len(table.columns) + "|" and lines[4].startswith(
        "| anil | 0.1 | 2 | 1 | 96.00 ± 1.00% * |"
    )
    latex = as_latex(table)
    assert r"algo.inner\_optimizer.lr" in latex and r"96.00 $\pm$ 1.00\% $^*$" in latex and r"\bottomrule" in latex
    rows = list(csv.DictReader(io.StringIO(as_csv(runs))))
    assert len(rows) == 4 and rows[0]["run"] == "0" and rows[0]["val_accuracy"] == "0.9"


def test_a_sweep_over_two_settings_is_pivoted(sweep):
    table = pivot(read_runs([sweep]), "algo", "algo.inner_optimizer.lr")
    assert table.rows == [["anil", "96.00% *", "80.00%"], ["maml", f"92.00 ± {100 * 0.02 * math.sqrt(2):.2f}%", ""]]
    with pytest.raises(UserError, match="no run has this setting; there are algo, "):
        pivot(read_runs([sweep]), "algo", "nothing")


def test_a_column_of_means_says_which_interval_it_shows(sweep):
    table = compare_runs(read_runs([sweep]))
    assert [row[table.columns.index("seeds")] for row in table.rows] == ["1", "2", "1"]
    assert "± with 2 or more seeds: the standard deviation over seeds" in table.notes
    assert "± with 1 seed: the 95% interval over tasks" in table.notes
    alone = compare_runs([run for run in read_runs([sweep]) if run.name in "23"])
    assert "± is the 95% interval over tasks" in alone.notes and "seeds" not in alone.columns


def test_latex_has_minus_signs_and_nothing_of_the_machine(sweep):
    runs = read_runs([sweep])
    difference = next(row for row in compare_runs(runs).rows if any(cell.startswith("-") for cell in row))
    latex = as_latex(compare_runs(runs))
    header = next(line for line in latex.splitlines() if "validation" in line)
    assert not {"run", "pixels", "seconds", "on"} & set(header.removesuffix(r" \\").split(" & "))
    number = next(cell for cell in difference if cell.startswith("-")).partition(" ")[0]
    assert f"${number}$ $\\pm$" in latex and f" {number} " not in latex


def mixed(folder, count=14):
    """Runs that differ in many settings, with names as long as those of new runs."""
    for i in range(count):
        place = folder / f"2026-01-01_12-00-{i:02d}_headandlastblock_miniimagenet_seed0"
        made(place, f"algorithm{i % 3}", 0.1 * (i + 1), 0, 0.5 + 0.01 * i, [0.8, 0.9], way=5 + i % 8,
             pixel_nearest_neighbour=0.4, paper_accuracy=0.9)  # fmt: skip
        path = place / "config.json"
        noted = json.loads(path.read_text())
        noted["config"] |= {
            "way": 5 + i % 8,
            "eval": {"tasks": 20 * i, "query": i},
            "outer": {"schedule": "cosine" * (1 + i % 3)},
        }
        noted["config"]["data"] |= {"classes": [600 + i, 100, 200], "a_setting_with_a_long_name": f"the value {i}"}
        noted["overrides"] += ["eval.tasks=1", "eval.query=1", "outer.schedule=x", "data.classes=x",
                               "data.a_setting_with_a_long_name=x"]  # fmt: skip
        path.write_text(json.dumps(noted))


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


def test_a_run_without_a_test_has_no_column_for_that(tmp_path):
    for name, lr in (("a", 0.1), ("b", 0.2)):
        made(tmp_path / name, "maml", lr, 0, 0.9, [0.8, 0.9])
    untested(tmp_path / "b")
    table = compare_runs(read_runs([tmp_path]))
    assert list(table.columns).count("test") == 1 and table.columns.index("test") > table.columns.index("validation")
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert sorted(row["test"] for row in rows) == ["", "85.00 ± 2.00%"]


def untested(run):
    """Make the record of a run one with test=false."""
    noted, result = (json.loads((run / name).read_text()) for name in ("config.json", "result.json"))
    noted["config"]["test"] = False
    noted["overrides"].append("test=false")
    (run / "config.json").write_text(json.dumps(noted))
    kept = {name: value for name, value in result.items() if not name.startswith("test")}
    (run / "result.json").write_text(json.dumps(kept))


def test_a_run_made_twice_is_no_second_seed(tmp_path):
    for name, val in (("search", 0.9), ("final", 0.9), ("other code", 0.7)):
        made(tmp_path / name, "maml", 0.1, 0, val, [0.8, 0.9])
    untested(tmp_path / "search")
    first, second = group_runs(read_runs([tmp_path]))
    assert sorted(run.name for run in first.runs) == ["final", "search"] and len(first.results) == 1
    assert first.score("test") == (pytest.approx(0.85), 0.02)
    assert [run.name for run in second.runs] == ["other code"] and second.score("val") == (0.7, 0.01)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are drawn."""
    seen = []
    module = sys.modules["metalearn.recording.comparison.figure"]
    monkeypatch.setattr(module, "saved", lambda figure, path: seen.append(figure) or path)
    return seen


def test_a_colour_stands_for_the_same_settings_in_all_panels(tmp_path, drawn):
    for i, (algo, way, seed) in enumerate(
        [("maml", 5, 0), ("maml", 5, 1), ("anil", 5, 0), ("anil", 20, 0), ("maml", 20, 0)]
    ):
        made(tmp_path / str(i), algo, 0.1, seed, 0.9 - 0.1 * i, [0.8, 0.9], way=way)
        path = tmp_path / str(i) / "config.json"
        noted = json.loads(path.read_text())
        noted["config"]["way"] = way
        path.write_text(json.dumps(noted))
    learning_curves(read_runs([tmp_path]), tmp_path / "x.png")
    panels = [{line.get_label().split(" (")[0]: line.get_color() for line in axis.lines} for axis in drawn[0].axes]
    assert len(panels) == 2 and panels[0] == panels[1] and len(set(panels[0].values())) == 2


def test_a_picture_of_many_runs_is_bounded_and_nothing_overlaps(tmp_path, drawn, recwarn):
    mixed(tmp_path, 96)
    learning_curves(read_runs([tmp_path]), tmp_path / "x.png")
    (figure,) = drawn
    figure.canvas.draw()
    assert not recwarn.list and len(figure.axes) == PANELS and figure.get_size_inches()[1] < 25
    assert "2 more combinations of data, way and shot are not drawn" in figure._suptitle.get_text()
    texts = [(axis.title, axis.xaxis.label, axis.get_legend()) for axis in figure.axes]
    boxes = [part.get_window_extent() for parts in texts for part in parts] + [figure._suptitle.get_window_extent()]
    overlaps = [(i, j) for i, a in enumerate(boxes) for j, b in enumerate(boxes[:i]) if a.overlaps(b)]
    assert not overlaps and max(box.x1 for box in boxes) < figure.bbox.x1 * 1.02


def test_the_picture_of_the_learning_curves(sweep, tmp_path, capfd):
    assert compare.main([str(sweep), "--figure", str(tmp_path / "curves.svg"), "--csv"]) == 0
    assert f"written: {tmp_path / 'curves.svg'}\n" == capfd.readouterr().err
    text = (tmp_path / "curves.svg").read_text()
    assert text.count("<!-- maml, algo.inner_optimizer.lr=0.1 (2 seeds) -->") == 1 and "glyphs, 5-way 1-shot" in text


def test_the_command_writes_beside_the_runs_and_mistakes_are_one_line(sweep, capfd):
    assert compare.main([str(sweep)]) == 0
    assert (sweep / "comparison.csv").exists() and (sweep / "comparison.png").stat().st_size > 10_000
    assert "* best by validation" in capfd.readouterr().out
    for words, message in (([str(sweep / "no")], "no such folder"), ([str(sweep / "0" / "x")], "no such folder"),
                           ([str(sweep), "--figure", "x.txt"], "must end in .png")):  # fmt: skip
        assert compare.main(words) == 2
        assert message in capfd.readouterr().err


def test_a_sweep_says_which_run_and_how_long(tmp_path, capfd):
    now = [0.0]
    sweep = Sweep(["algo=maml,anil", "way=5,20", "seed=0"], tmp_path, clock=lambda: now[0])
    for number in range(4):
        sweep.start(number, [f"way={number}"])
        now[0] += [0.5, 100.0, 200.0, 10.0][number]  # the first was complete before
        sweep.end(complete=number < 3)
    lines = capfd.readouterr().out.splitlines()
    assert lines == [
        "run 1 of 4: way=0",
        "run 2 of 4: way=1",
        "run 3 of 4: way=2 (about 3 min left for the sweep)",
        "run 4 of 4: way=3 (about 2 min left for the sweep)",
    ]


def test_the_runs_of_a_sweep_are_counted():
    assert count_runs(["algo=maml,anil", "way=choice(5,20,50)", "shot=range(1,4)", "seed=0"]) == 18
    assert count_runs(["algo=maml", "algo.inner_optimizer.lr=interval(0,1)"]) is None


def test_a_sweep_as_typed_ends_in_the_comparison(typed, tmp_path):
    from tests.helpers.configs import QUICK

    done = typed("-m", *QUICK, "algo=anil,maml", "algo.inner_optimizer.lr=0.1,-1", "hydra.sweep.dir=sweep")
    assert done.returncode == 2, done.stderr
    assert "run 3 of 4: " in done.stdout and "best by validation" in done.stdout
    assert "1: failed: algo.inner_optimizer" in done.stdout
    assert (tmp_path / "sweep" / "comparison.png").exists()


def test_shares_that_a_split_of_the_data_replaced_are_not_shown(tmp_path):
    for name, split in (("a", "published"), ("b", "0.64:0.16:0.2 seed 0")):
        made(tmp_path / name, "maml", 0.1, 0, 0.9, [0.8, 0.9], split=split)
        path = tmp_path / name / "config.json"
        noted = json.loads(path.read_text())
        noted["config"]["data"] |= {"split": [0.64, 0.16, 0.2], "split_seed": 0}
        path.write_text(json.dumps(noted))
    runs = read_runs([tmp_path])
    assert varying(runs) == ["data.split"]
    table = compare_runs(runs)
    assert {row[table.columns.index("data.split")] for row in table.rows} == {"published", "0.64:0.16:0.2 seed 0"}


def test_words_of_resuming_are_no_settings(sweep, capfd):
    words = ["algo=anil", "resume=auto", "trust=true"]
    write_job(sweep / "4", JobRecord("s", 4, words, 2, "way=30"))
    assert compare.main([str(sweep), "--pivot", "resume", "algo"]) == 2
    error = capfd.readouterr().err
    assert "no run has this setting" in error and "trust" not in error
    assert not {"resume", "trust"} & set(next(csv.reader(io.StringIO(as_csv(read_runs([sweep]))))))


OWN = """
from metalearn.algorithms.maml import MAML


class Broken(MAML):
    def is_adapted(self, name):
        return name.startswith(self.prefix)  # line 7: there is no such attribute
"""


def test_a_sweep_goes_through_though_code_of_the_user_raises(typed, tmp_path):
    from tests.helpers.configs import QUICK

    (tmp_path / "mine.py").write_text(OWN)
    targets = "algo._target_=mine.Broken,metalearn.algorithms.maml.MAML"
    done = typed("-m", *QUICK, targets, "seed=1,0", "hydra.sweep.dir=sweep")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and "Traceback" not in done.stderr + done.stdout
    assert "metalearn: failed: AttributeError: 'Broken' object has no attribute 'prefix' (mine.py:7)" in lines[0]
    assert "run 4 of 4: " in done.stdout and "0: failed: AttributeError: 'Broken' object" in done.stdout
    assert (tmp_path / "sweep" / "comparison.png").exists() and "validation" in done.stdout
    rows = list(csv.DictReader(open(tmp_path / "sweep" / "comparison.csv")))
    assert len(rows) == 4 and sum("mine.py:7" in row["status"] for row in rows) == 2
    assert "return name.startswith(self.prefix)" in (tmp_path / "sweep" / "0" / "traceback.txt").read_text()
    assert read_job(tmp_path / "sweep" / "0").why.endswith("(mine.py:7)")


def test_a_control_that_ends_its_run_does_not_end_the_sweep(typed, tmp_path):
    from tests.helpers.configs import QUICK

    (tmp_path / "mine.py").write_text("def check(learner):\n    raise ZeroDivisionError('of mine')\n")
    done = typed("-m", *QUICK, "+control.cycle.Callback.f=mine.check", "seed=0,1", "hydra.sweep.dir=sweep")
    assert done.returncode == 1 and "run 2 of 2: " in done.stdout
    assert "1: failed: ERROR: mine.check raised ZeroDivisionError: of mine (mine.py:2) at meta-step" in done.stdout
