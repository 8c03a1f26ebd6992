"""Comparison of the runs of a search: its trials, its confirmations, and trials that did not end."""

import csv
import io
import json

import pytest

from metalearn.lifecycle import lock
from metalearn.recording.comparison.figure import learning_curves
from metalearn.recording.comparison.formats import as_csv, as_latex, as_markdown
from metalearn.recording.comparison.pivot import pivot
from metalearn.recording.comparison.runs import read_runs
from metalearn.recording.comparison.table import compare_runs
from metalearn.recording.job import JobRecord, forget_pause, write_job
from tests.helpers.records import edit, made

LR = "algo.inner_optimizer.lr"


@pytest.fixture
def runs(tmp_path):
    """Two trials, and the confirmation of the better one and of the defaults, which have settings of that trial."""
    rows = [("0", 0.1, 0, 0.96, "trial"), ("1", 0.4, 0, 0.90, "trial")]
    rows += [(f"c{seed}", 0.1, seed, 0.91, "confirmation of trial 0") for seed in (7, 8)]
    rows += [(f"d{seed}", 0.2, seed, 0.92, "confirmation of defaults") for seed in (7, 8)]
    for name, lr, seed, val, role in rows:
        made(tmp_path / name, "maml", lr, seed, val, [0.5, 0.6])
        file = tmp_path / name / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"role": role}))
    return read_runs([tmp_path])


def test_a_confirmation_is_not_pooled_or_ranked_with_the_trial_that_it_confirms(runs, tmp_path, monkeypatch):
    table = compare_runs(runs, 300)
    validation = table.columns.index("validation")
    assert [(row[0], row[1], row[validation]) for row in table.rows] == [
        ("confirmation of defaults", "0.2", "92.00 ± 0.00% *"),
        ("confirmation of trial 0", "0.1", "91.00 ± 0.00%"),
        ("trial", "0.1", "96.00 ± 1.00% *"),
        ("trial", "0.4", "90.00 ± 1.00%"),
    ]
    assert any("a search chose among its trials by validation" in note for note in table.notes)
    assert "| confirmation of trial 0 | 0.1 |" in as_markdown(table)
    assert "confirmation of trial 0 & 0.1 &" in as_latex(table)
    assert [row["role"] for row in csv.DictReader(io.StringIO(as_csv(runs)))] == [run.settings["role"] for run in runs]
    tables = pivot(runs, "algo", LR)
    assert {table.title: table.rows for table in tables} == {
        f"validation accuracy: algo by {LR}; role=trial": [["maml", "96.00% *", "90.00%"]],
        f"validation accuracy: algo by {LR}; role=confirmation": [
            ["maml", "91.00 ± 0.00% (2 runs)", "92.00 ± 0.00% (2 runs) *"]
        ],
    }
    (alone,) = pivot([run for run in runs if run.name[0] != "c"], "algo", LR)
    assert alone.rows == [["maml", "96.00% *", "90.00%"]]  # though the defaults are in no cell of a trial
    drawn = []
    monkeypatch.setattr("metalearn.recording.comparison.figure.saved", lambda figure, path: drawn.append(figure))
    learning_curves(runs, tmp_path / "x.png")
    assert [axis.get_title() for axis in drawn[0].axes] == [
        "glyphs, 5-way 1-shot, confirmation",
        "glyphs, 5-way 1-shot, trial",
    ]


def test_the_state_of_a_run_without_result_is_named(tmp_path):
    """A run that a process trains, one that a study paused, one that it resumed, and one of a process that was killed."""
    for name in ("running", "paused", "resumed", "killed"):
        made(tmp_path / name, "maml", 0.1, 0, 0.5, [0.5, 0.6])
        (tmp_path / name / "result.json").unlink()
        (tmp_path / name / ".lock").touch()
    for name in ("paused", "resumed", "running"):
        write_job(tmp_path / name, JobRecord("study", 0, [], why="paused at a rung"))
    forget_pause(tmp_path / "resumed")
    progress = "recorded up to meta-step 300 of 300"
    with lock.hold(tmp_path / "running"):
        assert {run.name: run.status for run in read_runs([tmp_path])} == {
            "running": f"running: {progress}",
            "paused": f"paused at a rung: {progress}",
            "resumed": f"unfinished: {progress}",
            "killed": f"unfinished: {progress}",
        }


@pytest.mark.parametrize(
    ("targets", "shown"),
    [
        (("mine.Tiny", "mine.Tiny"), "2 runs: glyphs, maml, Tiny, 5-way"),
        (("mine.Tiny", "metalearn.models.conv4.Conv4"), {"Tiny", "conv4"}),
    ],
)
def test_a_module_of_the_users_is_named_by_its_class(tmp_path, targets, shown):
    for number, target in enumerate(targets):
        made(tmp_path / str(number), "maml", 0.1, 0, 0.5 + number, [0.5, 0.6])
        edit(tmp_path / str(number), [f"model._target_={target}"], model___target_=target)
    table = compare_runs(read_runs([tmp_path]))
    if isinstance(shown, str):
        assert table.title.startswith(shown)
    else:
        assert {row[table.columns.index("model")] for row in table.rows} == shown
