"""The README is true: its table is the one of the runs in experiments/, and these are of the defaults."""

import importlib.util
import json
import re

import pytest

from metalearn.compare import markdown
from metalearn.lifecycle.run import run_experiment
from tests.helpers.configs import ROOT, config

STUDY = ROOT / "experiments" / "algorithms"
FLOORS = {"maml": 0.96, "fomaml": 0.95, "anil": 0.95, "reptile": 0.90, "pretrain": 0.88}


def test_the_results_table_is_that_of_the_runs():
    assert markdown(STUDY) in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("data", ["omniglot", "glyphs"])
@pytest.mark.parametrize("algo", FLOORS)
def test_the_runs_are_of_the_present_defaults(algo, data):
    result = json.loads((STUDY / f"{data}_{algo}" / "result.json").read_text())
    node = config(f"algo={algo}", f"data={data}", "eval.test_tasks=600")
    node["steps"] = 1000 if data == "glyphs" else node["steps"]  # as experiments/algorithms/run.sh says
    for key in ("way", "shot", "query", "steps", "seed"):
        assert result[key] == node[key], key
    assert (result["inner_steps_train"], result["inner_steps_test"]) == (
        node["algo"]["inner_steps"],
        node["algo"]["inner_steps_test"],
    )
    assert result["norm_mode"] == node["norm"] and result["test_tasks"] == 600 and result["data"] == data
    assert result["test_accuracy"] > result["pixel_nearest_neighbour"] + 0.1
    if data == "omniglot":
        assert result["test_accuracy"] >= FLOORS[algo] and result["train_seconds"] < 600


def test_the_run_killed_ten_times_ended_as_the_one_left_alone():
    record = json.loads((ROOT / "experiments" / "killed" / "record.json").read_text())
    assert len(record["kills"]) == 10 and all(record["compared"].values()) and len(record["compared"]) == 6
    assert {"data=omniglot", "algo=maml", "steps=1000"} <= set(record["words"]) and record["threads"] == 2
    assert sum("from meta-step" in kill["began"] for kill in record["kills"]) >= 5


def test_the_speed_table_is_that_of_the_results_and_no_peer_is_faster(monkeypatch):
    folder = ROOT / "experiments" / "speed"
    results = json.loads((folder / "results.json").read_text())
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location("speed_run", folder / "run.py")
    speed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(speed)
    assert speed.markdown(results) == (folder / "table.md").read_text()
    assert (folder / "table.md").read_text() in (ROOT / "README.md").read_text()
    keys = {"algo", "setting", "engine", "device", "steps_per_second", "peak_memory_mb", "ratio_to_best_peer",
            "fraction_of_floor"}  # fmt: skip
    assert all(keys <= row.keys() for row in results["rows"])
    chosen = [row for row in results["rows"] if row["engine"] == "grouped" and row["ratio_to_best_peer"] is not None]
    assert len(chosen) >= 16 and min(row["ratio_to_best_peer"] for row in chosen) > 1
    assert all(entry["share"] < 0.05 for entry in results["end_to_end"])


def test_the_algorithm_of_ones_own_works_as_printed(tmp_path, monkeypatch):
    text = (ROOT / "README.md").read_text()
    snippet = text[text.index("### Adding one") :].partition("```python\n")[2].partition("```")[0]
    (tmp_path / "mypackage.py").write_text(snippet)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ("algo=anil", "algo._target_=mypackage.BodyOnly", "data=glyphs", "data.classes=[8,6,6]", "model.filters=4",
             "steps=2", "eval.tasks=2", "eval.test_tasks=2")  # fmt: skip
    run_experiment(config(*words), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "result.json").read_text())["algo"] == "bodyonly"


def test_the_settings_most_often_changed_are_as_printed():
    text = (ROOT / "README.md").read_text()
    table = text[text.index("The settings most often changed") : text.index("A model is a `MetaModel`")]
    node, printed = config("algo=maml"), {}
    for line in table.splitlines():
        if line.startswith("| `"):
            names, values = line.split("|")[1:3]
            printed |= dict(zip(re.findall("`(.*?)`", names), values.replace("`", "").split(","), strict=True))
    assert len(printed) == 13
    for name, value in printed.items():
        expected = node
        for part in name.split("."):
            expected = expected[part]
        expected = expected["_target_"].rpartition(".")[2].lower() if name == "model" else expected
        assert str(expected) == value.strip(), name
