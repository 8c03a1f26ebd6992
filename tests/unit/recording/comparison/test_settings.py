"""Settings that are columns, and settings that are none."""

import csv
import io
import json
from dataclasses import replace

from metalearn import compare
from metalearn.recording.comparison.formats import as_csv
from metalearn.recording.comparison.groups import group_runs, varying
from metalearn.recording.comparison.runs import read_runs
from metalearn.recording.comparison.table import compare_runs
from metalearn.recording.job import JobRecord, write_job
from tests.helpers.records import edit, made


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


def test_no_setting_is_another_one_than_null(sweep):
    edit(sweep / "2", algo__last=None)
    runs = [replace(run, name="") for run in read_runs([sweep]) if run.name in "02"]
    assert varying([replace(run, typed=[]) for run in runs]) == ["algo"]  # comes with it
    both = [replace(run, typed=["algo.last"]) for run in runs]
    assert varying(both) == ["algo", "algo.last"]
    assert {row[1] for row in compare_runs(both).rows} == {"", "null"}
