"""Which runs are compared: seeds of one configuration are averaged, the same tasks are paired, and nothing else."""

import json
import math

import pytest
import torch

from metalearn import compare
from metalearn.data import glyphs
from metalearn.recording.comparison.formats import as_csv
from metalearn.recording.comparison.groups import difference, group_runs, varying
from metalearn.recording.comparison.runs import read_runs
from metalearn.recording.comparison.sweep import Sweep
from metalearn.recording.comparison.table import compare_runs
from metalearn.recording.job import JobRecord, write_job
from metalearn.training.evaluate import tasks_digest
from tests.helpers.records import edit, made


@pytest.fixture
def pair(tmp_path):
    made(tmp_path / "a", "maml", 0.1, 0, 0.9, [0.8, 0.9])
    made(tmp_path / "b", "maml", 0.1, 1, 0.8, [0.8, 0.7])
    return tmp_path


def test_the_digest_is_of_the_tasks_themselves(small_glyphs):
    def digest(dataset, seed=0, way=3, query=2):
        return tasks_digest(dataset.source("test", seed, "cpu"), way=way, shot=1, query=query, device="cpu")

    upright = glyphs.load(classes=[30, 12, 12], split_seed=0, rotate_train=True, rotate_test=False)
    assert digest(small_glyphs) == digest(small_glyphs)
    others = {digest(upright), digest(small_glyphs, seed=1), digest(small_glyphs, way=4), digest(small_glyphs, query=3)}
    assert len(others | {digest(small_glyphs)}) == 5


@pytest.mark.slow
def test_a_result_says_which_tasks_were_tested(tmp_path):
    from metalearn.lifecycle.launch import train
    from tests.helpers.configs import config
    from tests.unit.training.test_scores import WORDS

    for name, words in (("a", ()), ("b", ("algo=anil",)), ("c", ("data.rotate_test=false",))):
        train(config(*WORDS, *words), tmp_path / name)
    runs = {run.name: run for run in read_runs([tmp_path])}
    groups = {name: group_runs([run])[0] for name, run in runs.items()}
    a, b = (runs[name].result["test_scores"] for name in "ab")
    gaps = torch.tensor(a, dtype=torch.float64) - torch.tensor(b, dtype=torch.float64)
    width = 2.446911851 * gaps.std().item() / math.sqrt(7)  # Student's t, 6 degrees of freedom
    assert difference(groups["a"], groups["b"]) == (pytest.approx(gaps.mean().item()), pytest.approx(width), 7)
    assert difference(groups["a"], groups["c"]) is None


def test_a_record_that_does_not_name_its_tasks_is_not_paired(tmp_path):
    made(tmp_path / "a", "maml", 0.1, 0, 0.9, [0.8, 0.9], test_digest=None)
    made(tmp_path / "b", "anil", 0.1, 0, 0.8, [0.8, 0.7], test_digest=None)
    first, second = group_runs(read_runs([tmp_path]))
    assert difference(first, second) is None and "difference" not in compare_runs(read_runs([tmp_path])).columns


def test_other_data_are_no_seeds(pair):
    edit(pair / "a", found="folder, aaa", data__root="here")
    edit(pair / "b", found="folder, bbb", data__root="there")
    runs = read_runs([pair])
    assert len(group_runs(runs)) == 2 and varying(runs) == ["data.root"]


def test_the_same_data_elsewhere_are_the_same_configuration(pair):
    edit(pair / "a", found="folder, aaa", data__root="/mnt/one")
    edit(pair / "b", found="folder, aaa", data__root="/mnt/two")
    runs = read_runs([pair])
    assert len(group_runs(runs)) == 1 and varying(runs) == []


def test_another_class_is_another_configuration(pair):
    edit(pair / "a", outer__optimizer___target_="torch.optim.Adam")
    edit(pair / "b", outer__optimizer___target_="torch.optim.AdamW")
    runs = read_runs([pair])
    assert len(group_runs(runs)) == 2 and varying(runs) == ["outer.optimizer._target_"]


def test_way_and_norm_are_visible_though_they_come_with_a_choice(tmp_path):
    made(tmp_path / "a", "maml", 0.1, 0, 0.9, [0.8, 0.9])
    made(tmp_path / "b", "anil", 0.1, 0, 0.8, [0.8, 0.7], norm_mode="support")
    table = compare_runs(read_runs([tmp_path]))
    assert "batch norm" in table.columns and "5-way, 1-shot" in table.title


@pytest.mark.parametrize("entry", [{"val_ci95": "x"}, {"test_scores": 5}, {"test_scores": ["x"]}, {"norm_mode": None}])
def test_a_damaged_entry_is_one_line(entry, pair, capfd):
    result = json.loads((pair / "a" / "result.json").read_text()) | entry
    result = {name: value for name, value in result.items() if value is not None}
    (pair / "a" / "result.json").write_text(json.dumps(result))
    assert compare.main([str(pair)]) == 0
    assert "a: result.json: damaged" in capfd.readouterr().out


def test_folders_that_overlap_list_a_run_once(pair):
    assert len(read_runs([pair, pair / "a"])) == 2


def test_complete_runs_of_a_resumed_sweep_take_no_time(tmp_path, capfd):
    now = [0.0]
    sweep = Sweep(["way=2,3,4,5"], tmp_path, clock=lambda: now[0])
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "result.json").write_text("{}")
    sweep.start(0, ["way=2"])
    now[0] += 100.0
    sweep.end(complete=True)
    sweep.start(1, ["way=3"])
    assert "(about 3 min left for the sweep)" in capfd.readouterr().out  # two runs, not three


def test_a_complete_run_is_no_failure_of_an_earlier_attempt(pair):
    write_job(pair / "a", JobRecord("s", 0, ["x=1"], 2, "holds a run already"))
    assert [run.status for run in read_runs([pair])] == ["", ""]


def test_an_evaluation_has_the_settings_of_its_run_and_a_name_of_its_own(pair):
    for name in "ab":
        edit(pair / name, found="glyphs, f0")
        result = json.loads((pair / name / "result.json").read_text())
        result = {n: v for n, v in result.items() if not n.startswith(("val_", "steps", "train"))}
        result |= {"part": "test", "shot": 2, "run": name, "data_fingerprint": "f0", "test_digest": f"two shots {name}"}
        place = pair / name / "evaluations" / "two"
        place.mkdir(parents=True)
        (place / "result.json").write_text(json.dumps(result))
    runs = read_runs([pair], evaluations=True)
    assert varying(runs) == ["shot"] and [len(group.runs) for group in group_runs(runs)] == [2, 2]
    table = compare_runs(runs)
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [(row["shot"], row["run"]) for row in rows] == [("1", "a, b"), ("2", "a/evaluations/two, b/evaluations/two")]
    assert rows[1]["validation"] == "" and rows[1]["test"]
    assert "\na/evaluations/two," in as_csv(runs) and len(read_runs([pair])) == 2


def test_a_difference_names_its_number_of_tasks_and_a_run_of_a_sweep_what_was_swept(tmp_path, capfd):
    made(tmp_path / "a", "maml", 0.1, 0, 0.9, [0.8, 0.9, 0.7])
    made(tmp_path / "b", "anil", 0.1, 0, 0.8, [0.7, 0.9, 0.6])
    table = compare_runs(read_runs([tmp_path]))
    gap = 4.302652730 * 100 * math.sqrt(0.01 / 3) / math.sqrt(3)  # differences -0.1, 0, -0.1: deviation 0.0577
    assert table.rows[1][table.columns.index("difference")] == f"-6.67 ± {gap:.2f} (3 tasks)"
    Sweep(["data=glyphs", "way=2,3"], tmp_path).start(0, ["data=glyphs", "way=2"])
    assert capfd.readouterr().out == "run 1 of 2: way=2\n"


def test_a_folder_of_somebody_else_is_only_read(pair, monkeypatch, capfd):
    def refuse(*words):
        raise PermissionError(13, "Permission denied", "comparison.csv")

    monkeypatch.setattr("metalearn.recording.comparison.show.write_atomically", refuse)
    assert compare.main([str(pair)]) == 0
    out = capfd.readouterr().out
    assert "validation" in out and "the comparison is not written (Permission denied)" in out
    assert not (pair / "comparison.png").exists()
