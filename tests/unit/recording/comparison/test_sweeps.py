"""Sweeps: their progress, failures and end."""

import csv

import pytest
from omegaconf import OmegaConf

from metalearn.recording.comparison.sweep import Sweep, count_runs
from metalearn.recording.job import read_job

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


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


@pytest.mark.parametrize(("pictures", "form"), [("none", None), ("pdf", "pdf"), ("none,png", "png")])
def test_the_end_of_a_sweep_draws_as_the_runs_do(sweep, monkeypatch, capfd, pictures, form):
    from metalearn.cli.sweep import Report, SweepProcess

    drawn = []
    monkeypatch.setattr("metalearn.recording.comparison.show.learning_curves", lambda runs, path: drawn.append(path))
    hydra = {"overrides": {"task": []}, "sweep": {"dir": str(sweep)}, "launcher": {"_target_": BASIC}}
    with SweepProcess("s") as process:
        Report().on_multirun_start(OmegaConf.create({"hydra": hydra, "pictures": pictures}))
        process.finish()
    assert drawn == ([sweep / f"comparison.{form}"] if form else []) and (sweep / "comparison.csv").exists()


@pytest.mark.slow
def test_a_sweep_as_typed_ends_in_the_comparison(typed, tmp_path):
    from tests.helpers.configs import QUICK

    done = typed("-m", *QUICK, "algo=anil,maml", "algo.inner_optimizer.lr=0.1,-1", "hydra.sweep.dir=sweep")
    assert done.returncode == 2, done.stderr
    assert "run 3 of 4: " in done.stdout and "best by validation" in done.stdout
    assert "1: failed: algo.inner_optimizer" in done.stdout
    assert (tmp_path / "sweep" / "comparison.png").exists()


OWN = """
from metalearn.algorithms.maml import MAML


class Broken(MAML):
    def is_adapted(self, name):
        return name.startswith(self.prefix)  # line 7: there is no such attribute
"""


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_control_that_ends_its_run_does_not_end_the_sweep(typed, tmp_path):
    from tests.helpers.configs import QUICK

    (tmp_path / "mine.py").write_text("def check(learner):\n    raise ZeroDivisionError('of mine')\n")
    done = typed("-m", *QUICK, "+control.cycle.Callback.f=mine.check", "seed=0,1", "hydra.sweep.dir=sweep")
    assert done.returncode == 1 and "run 2 of 2: " in done.stdout
    assert "1: failed: ERROR: mine.check raised ZeroDivisionError: of mine (mine.py:2) at meta-step" in done.stdout
