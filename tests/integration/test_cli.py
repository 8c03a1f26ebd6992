"""The command line as a user types it."""

import csv
import json

import pytest

from metalearn.config import groups
from tests.helpers.configs import QUICK, ROOT, choices, every
from tests.helpers.processes import refused

EXPERIMENTS = groups.choices("experiment")


def test_help_explains_the_keys(run):
    done = run("--help")
    assert done.returncode == 0
    for key in "way= shot= query= steps= seed= device= algo= data= model= tracker= norm= resume= control=".split():
        assert key in done.stdout
    for group in ("algo", "data", "model", "outer", "control", "tracker"):
        assert f"{group}: {choices(group)}" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("stpes=3", "did you mean steps"),
        ("way=500", "only 20 classes"),
        ("data=folder data.root=nowhere", "no such folder"),
    ],
)
def test_a_mistake_is_one_line_and_status_2_before_any_work(words, message, typed, tmp_path):
    """The whole list is in tests/unit/cli."""
    base = () if words.startswith("data=") else ("data=glyphs", "data.classes=[20,8,8]")
    refused(typed(*base, *words.split()), message, folder=tmp_path)


def test_main_returns_the_validation_score(tmp_path, monkeypatch):
    import sys

    from metalearn.run import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["metalearn", *QUICK])
    score = main(folder="mine")
    assert score == json.loads((tmp_path / "mine" / "result.json").read_text())["val_accuracy"]


@pytest.mark.slow
def test_no_step_at_all_tests_the_initial_learner(typed, tmp_path):
    done = typed(*QUICK, "steps=0", "hydra.run.dir=out", pictures=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "result.json").read_text())["best_step"] == 0
    assert (tmp_path / "out" / "curves.png").exists()


def test_a_sweep_ends_in_one_table(typed, tmp_path):
    done = typed("-m", *QUICK, "algo=maml,anil", "way=3,4", "hydra.sweep.dir=sweep")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(open(tmp_path / "sweep" / "comparison.csv")))
    assert [(row["algo"], row["way"]) for row in rows] == [("maml", "3"), ("maml", "4"), ("anil", "3"), ("anil", "4")]
    for row in rows:
        result = json.loads((tmp_path / "sweep" / row["run"] / "result.json").read_text())
        assert float(row["test_accuracy"]) == result["test_accuracy"]
    assert "4 runs" in done.stdout and "anil" in done.stdout.split("4 runs")[1]


def test_a_failing_run_does_not_stop_a_sweep(typed, tmp_path):
    done = typed("-m", *QUICK, "way=500,3", "hydra.sweep.dir=sweep")
    assert done.returncode == 2 and "way=500" in done.stderr and "Traceback" not in done.stderr
    assert [row["way"] for row in csv.DictReader(open(tmp_path / "sweep" / "comparison.csv"))] == ["500", "3"]


def test_auto_says_at_start_and_end_that_these_are_glyphs(typed, tmp_path):
    quick = [word for word in QUICK if not word.startswith("data")]
    done = typed("data.download=false", "data.glyphs.classes=[20,8,8]", *quick, "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    lines = [i for i, line in enumerate(done.stdout.splitlines()) if "WARNING" in line and "GLYPHS" in line]
    assert len(lines) == 2 and lines[0] == 0 and lines[1] == len(done.stdout.splitlines()) - 1
    assert json.loads((tmp_path / "out" / "result.json").read_text())["data"] == "glyphs"


@pytest.mark.parametrize("name", every(4, EXPERIMENTS))
def test_every_experiment_composes_with_valid_settings(name):
    from metalearn.config.instantiate import call
    from metalearn.learner.spec import algorithm_of
    from metalearn.lifecycle.setup import GROUPS
    from metalearn.training.settings import RunSettings
    from tests.helpers.configs import config

    node = config(f"experiment={name}")
    settings = call(RunSettings, {k: v for k, v in node.items() if k not in GROUPS}, "")
    spec = {
        "regression": False,
        "labels": 4400,
        "shape": [1, 28, 28],
        "outputs": settings.way,
        "algo": node["algo"],
        "model": node["model"],
        "engine": node["engine"],
        **{n: getattr(settings, n) for n in ("way", "shot", "query", "norm", "seed")},
    }
    algorithm = algorithm_of(spec)
    short = name.split("/")[1]
    assert type(algorithm).__name__.lower() == short.split("_")[0]
    assert (settings.way, settings.shot) == tuple(map(int, short.split("_")[1].removesuffix("s").split("w")))
    text = (ROOT / "conf" / "experiment" / f"{name}.yaml").read_text()
    assert f"python -m metalearn.run experiment={name}" in text.splitlines()[1]


@pytest.mark.slow
def test_an_experiment_runs(typed, omniglot_root, tmp_path):
    done = typed(
        "experiment=omniglot/maml_5w1s",
        "steps=2",
        "eval.tasks=4",
        "eval.test_tasks=4",
        "hydra.run.dir=out",
        METALEARN_DATA=omniglot_root,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["paper_accuracy"] == 0.987
    assert result["data"] == "omniglot" and result["params"] == 112005  # 4 blocks of 64, head of 64 x 5
