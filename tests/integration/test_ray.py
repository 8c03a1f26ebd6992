"""Searches by Ray Tune: on two nodes of one core each, killed, stopped and resumed."""

import json
import os
import shutil
import signal
import time

import pytest

from tests.helpers.configs import ROOT
from tests.helpers.ray_cluster import (
    OUTER,
    RATE,
    SMALL,
    TwoNodes,
    begin,
    checkpoints,
    end_all,
    facts,
    finished,
    need_ray,
    same_run,
    table,
    wait_for,
)

pytestmark = [pytest.mark.slow, pytest.mark.integration]


@pytest.fixture(autouse=True)
def _ray():
    need_ray()
    yield
    end_all()


LONG = ("steps=1200", "eval.every=40")


THREE = ("search=random", *SMALL, *LONG, RATE, "search.trials=3")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """Search in one process without Ray: the three trials that Ray must train to the bit."""
    folder = tmp_path_factory.mktemp("embedded")
    finished(begin(folder, *THREE, "search.engine=embedded", "hydra.sweep.dir=study"))
    return folder / "study"


def test_a_killed_process_and_a_killed_node_lose_no_trial(embedded, tmp_path):
    nodes = TwoNodes()
    try:
        search = begin(tmp_path, *THREE, "search.engine=ray", f"search.address={nodes.address}", "search.storage_path=shared",
                       "hydra.sweep.dir=study")  # fmt: skip
        study, shared = tmp_path / "study", tmp_path / "shared"
        wait_for(lambda: all(checkpoints(shared, number, "study_*/") for number in (0, 1)), search)
        pids = {number: int(facts(study)[number]["worker"].rpartition(":")[2]) for number in (0, 1)}
        assert pids[0] != pids[1]
        os.kill(pids[0], signal.SIGKILL)
        wait_for(lambda: int(facts(study)[0]["worker"].rpartition(":")[2]) != pids[0], search)
        nodes.kill_other()
        out = finished(search)
    finally:
        nodes.close()
    assert "2 machines, 2 cores; each sees the folder, the packages and the data" in out
    assert [row["state"] for row in table(study)] == ["complete"] * 3, out
    assert "resuming from meta-step" in (study / "logs" / "0.txt").read_text()
    assert not list(shared.iterdir()), "the checkpoints of Ray are removed at the end"
    for number in range(3):
        same_run(study / str(number), embedded / str(number))


def test_a_search_that_is_stopped_and_killed_continues_each_trial_from_its_checkpoint(embedded, tmp_path):
    on_ray = [*THREE, "search.engine=ray", "search.workers=2", "hydra.sweep.dir=study", "resume=auto"]
    study, sessions = tmp_path / "study", tmp_path / "study" / "ray"
    first = begin(tmp_path, *on_ray)
    wait_for(lambda: all(checkpoints(sessions, number) for number in (0, 1)), first)
    first.send_signal(signal.SIGTERM)
    out = finished(first, status=128 + signal.SIGTERM)
    assert "stopped by SIGTERM" in out and "To resume: " in out
    again = begin(tmp_path, *on_ray)
    wait_for(lambda: (study / "0" / "result.json").exists() or (study / "1" / "result.json").exists(), again)
    again.kill()
    again.communicate()
    done = [number for number in (0, 1, 2) if (study / str(number) / "result.json").exists()]
    results = {number: (study / str(number) / "result.json").read_bytes() for number in done}
    last = finished(begin(tmp_path, *on_ray))
    assert [row["state"] for row in table(study)] == ["complete"] * 3, last
    assert all((study / str(number) / "result.json").read_bytes() == content for number, content in results.items())
    assert any("resuming from meta-step" in (study / "logs" / f"{number}.txt").read_text() for number in (0, 1))
    for number in range(3):
        same_run(study / str(number), embedded / str(number))


@pytest.mark.parametrize("how", ["search.prune=asha", "search.compete=hyperband"])
def test_bad_trials_are_ended_and_good_ones_trained_on(how, tmp_path):
    words = ["search=tpe", *SMALL, "steps=9", "eval.every=1", RATE, "search.trials=9", "search.seed=1"]
    out = finished(begin(tmp_path, *words, how, "search.engine=ray", "search.workers=2", "hydra.sweep.dir=study"))
    rows = table(tmp_path / "study")
    assert [row["trial"] for row in rows] == list("012345678"), out
    states = {row["state"] for row in rows}
    assert states == {"complete", "pruned"}
    assert {row["last_step"] for row in rows if row["state"] == "complete"} == {"9"}
    pruned = [int(row["last_step"]) for row in rows if row["state"] == "pruned"]
    assert set(pruned) <= {1, 3}
    if "hyperband" in how:  # 3 trials train to their end, 2 of 5 are resumed at the rung, and 1 is left for the next
        assert pruned == [3, 3, 3]
    # One that was paused and resumed has the bits of a training that never was
    resumed = [row for row in rows if row["state"] == "complete"][-1]
    finished(begin(tmp_path, "search=grid", *(word for word in words if word.startswith(("algo", "data", "model", "steps", "eval")) and "interval" not in word),
                   f"algo.inner_optimizer.lr=choice({resumed['algo.inner_optimizer.lr']})", "search.confirm=0",
                   "hydra.sweep.dir=alone"))  # fmt: skip
    alone = (tmp_path / "alone" / "0" / "metrics.csv").read_text()
    assert (tmp_path / "study" / resumed["trial"] / "metrics.csv").read_text() == alone


def test_a_population_takes_over_checkpoints_and_its_schedule_is_replayed(tmp_path):
    words = ["search=pbt", *(word for word in SMALL if not word.startswith("pictures")), RATE, OUTER, "search.trials=4",
             "search.pbt.every=3", "search.workers=2", "hydra.sweep.dir=study"]  # fmt: skip
    out = finished(begin(tmp_path, *words))
    study = tmp_path / "study"
    assert "takes over trial" in out
    rows = table(study)
    assert [row["state"] for row in rows] == ["complete"] * 4
    assert (study / "population.png").exists() and not (study / "slices.png").exists()
    found = json.loads((study / "schedule.json").read_text())
    best = min(rows, key=lambda row: float(row["val_mse"]))
    assert str(found["trial"]) == best["trial"] and found["schedule"][0]["from_step"] == 0
    assert json.loads(best["schedule"])[-1][1] == found["schedule"][-1]["settings"]
    assert any(len(json.loads(row["schedule"])) > 1 for row in rows)
    text = (study / "experiment" / "found.yaml").read_text()
    assert f"lr: {found['schedule'][-1]['settings']['outer.optimizer.lr']}" in text and "schedule.json" in text
    # The schedule alone leads to the same weights
    from metalearn.config.compose import compose
    from metalearn.search.settings import Goal
    from metalearn.search.trial import Trials

    fixed = [word for word in SMALL if not word.startswith(("search", "pictures"))]
    trials = Trials(
        tmp_path, lambda words: compose(*words), fixed, [Goal("val_mse", False)], 1, group="again", identity="again"
    )
    for row in rows:
        parts = [(step, [*fixed, *(f"{name}={value}" for name, value in settings.items())])
                 for step, settings in json.loads(row["schedule"])]  # fmt: skip
        result = trials.follow(parts, tmp_path / f"again_{row['trial']}", "confirmation")
        assert result["val_mse"] == float(row["val_mse"]), row
        again = (tmp_path / f"again_{row['trial']}" / "metrics.csv").read_text()
        assert (study / row["trial"] / "metrics.csv").read_text() == again


def test_a_population_that_is_killed_resumes_with_the_settings_of_its_checkpoints(tmp_path):
    words = ["search=pbt", *SMALL, *LONG, RATE, "search.trials=2", "search.pbt.every=120", "search.pbt.quantile=0.5",
             "search.workers=2", "hydra.sweep.dir=study", "resume=auto"]  # fmt: skip
    study, sessions = tmp_path / "study", tmp_path / "study" / "ray"

    def changed():
        return any(len(json.loads((place / "trial.json").read_text())["schedule"]) > 1
                   for number in (0, 1) for place in checkpoints(sessions, number))  # fmt: skip

    first = begin(tmp_path, *words)
    wait_for(changed, first)
    first.kill()
    first.communicate()
    time.sleep(2)
    out = finished(begin(tmp_path, *words))
    rows = table(study)
    assert [row["state"] for row in rows] == ["complete"] * 2, out
    for row in rows:
        steps = [step for step, _ in json.loads(row["schedule"])]
        assert steps[0] == 0 and steps == sorted(set(steps))
        with open(study / row["trial"] / "metrics.csv") as file:
            assert [int(line.split(",")[0]) for line in file.read().splitlines()[1:]][-1] == 1200
    assert any("resuming from meta-step" in (study / "logs" / f"{number}.txt").read_text() for number in (0, 1))


def test_a_cluster_is_checked_before_the_first_trial(tmp_path):
    words = ["search=random", *SMALL, RATE, "search.trials=2", "search.engine=ray", "hydra.sweep.dir=study"]
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "metalearn", copy / "metalearn", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "metalearn" / "runtime" / "errors.py").open("a").write("# another version\n")
    shutil.copytree(ROOT / "hydra_plugins", copy / "hydra_plugins")
    nodes = TwoNodes(env_vars={"PYTHONPATH": str(copy)})
    try:
        address = f"search.address={nodes.address}"
        (tmp_path / "file").write_text("")
        for extra, message in (
            (["search.storage_path=file/shared"], "search.storage_path="),
            (["search.storage_path=shared", "search.resources.cpu=2"], "no machine of it has 2 cores"),
            (["search.storage_path=shared"], "has another version of the source of metalearn"),
        ):
            search = begin(tmp_path, *words, address, *extra)
            out, error = search.communicate(timeout=900)
            assert search.returncode == 2, out + error
            assert error.count("\n") == 1 and message in error, error
            assert not (tmp_path / "study").exists()
    finally:
        nodes.close()
    search = begin(tmp_path, *words, "search.address=127.0.0.1:1", "search.storage_path=shared")
    out, error = search.communicate(timeout=900)
    assert search.returncode == 2 and "no cluster answers" in error and error.count("\n") == 1, out + error
