"""Searches as a user types them: their trials, their end, their report; killed, stopped and resumed."""

import csv
import json
import signal

import pytest

from metalearn.recording.comparison.runs import read_runs
from tests.helpers.processes import begin, finished, refused, wait_for

pytestmark = pytest.mark.integration

SMALL = ("algo=anil", "data=glyphs", "data.classes=[20,8,12]", "model.filters=4", "steps=12", "eval.every=3",
         "eval.tasks=10", "eval.test_tasks=10", "pictures=none", "control.cycle.Save.seconds=0.05")  # fmt: skip
SPACE = ("algo.inner_optimizer.lr=tag(log, interval(0.01, 2))", "algo.inner_steps=range(1, 4)")
SEARCH = ("-m", "search=tpe", *SMALL, *SPACE, "search.trials=4", "search.confirm=0")


def trials(folder):
    """The rows of trials.csv, without times."""
    with open(folder / "trials.csv", newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    finished(folder, *SEARCH, "hydra.sweep.dir=study")
    return folder / "study"


def test_a_search_from_the_first_trial_to_the_verdict(typed, tmp_path):
    words = ("search.confirm=1", "search.confirm_seeds=2", "search.confirm_tasks=12", "hydra.sweep.dir=study")
    done = typed(*SEARCH, *words)
    assert done.returncode == 0, done.stderr
    assert "trial 3 (4 of 4)" in done.stdout and "verdict: trial" in done.stdout and "test, 10 tasks" in done.stdout
    study = tmp_path / "study"
    assert len(trials(study)) == 4 and all(row["state"] == "complete" for row in trials(study))
    for number in range(4):
        result = json.loads((study / str(number) / "result.json").read_text())
        assert not [name for name in result if name.startswith("test_")]  # a trial never looks at test classes
    confirmed = json.loads((study / "confirmed.json").read_text())
    assert [entry["name"] for entry in confirmed["configurations"]] == ["defaults", confirmed["winner"]]
    assert len(list((study / "confirm").glob("*/seed*"))) == 4
    runs = {run.name: run.settings["role"] for run in read_runs([study])}
    of = f"confirmation of {confirmed['winner']}"
    assert sorted(runs.values()) == ["confirmation of defaults"] * 2 + [of] * 2 + ["trial"] * 4
    own = typed("--config-dir", "study", "experiment=found", "steps=3", "hydra.run.dir=found")
    assert own.returncode == 0, own.stderr
    best = max(trials(study), key=lambda row: float(row["val_accuracy"]))
    config = json.loads((tmp_path / "found" / "config.json").read_text())["config"]
    assert config["algo"]["inner_optimizer"]["lr"] == float(best["algo.inner_optimizer.lr"])


def test_an_extended_search_ends_as_a_longer_one_and_is_confirmed_anew(whole, typed, tmp_path):
    words = ("search.confirm=4", "search.confirm_seeds=2", "search.confirm_tasks=12")
    assert typed(*SEARCH, *words, "search.trials=2").returncode == 0
    (study,) = (tmp_path / "runs").glob("search_*")
    before = json.loads((study / "confirmed.json").read_text())
    refused(typed(*SEARCH, f"hydra.sweep.dir={study}", "search.trials=1", "resume=auto"), "number of trials: 2 -> 1")
    done = typed(*SEARCH, *words, "resume=auto")  # finds its study
    assert done.returncode == 0 and "confirming anew" in done.stdout, done.stderr
    assert trials(study) == trials(whole) and list((tmp_path / "runs").iterdir()) == [study]
    assert json.loads((study / "search.json").read_text())["number of trials"] == 4
    after = json.loads((study / "confirmed.json").read_text())
    entries = [{entry["name"]: entry for entry in each["configurations"]} for each in (before, after)]
    assert len(entries[0]) == 3 and len(entries[1]) == 5 and entries[0].items() <= entries[1].items()
    again = typed(*SEARCH, *words, "resume=auto")
    assert "verdict: trial" in again.stdout and "confirming" not in again.stdout
    assert max(map(len, done.stdout.split("confirmed on")[1].splitlines())) < 130, done.stdout


def test_a_killed_search_ends_as_the_one_left_alone(whole, tmp_path):
    words = (*SEARCH, "hydra.sweep.dir=study", "resume=auto")
    for number in (1, 2):  # killed in the middle of a trial
        process = begin(tmp_path, *words)
        wait_for(lambda: (tmp_path / "study" / str(number) / "checkpoints" / "last.pt").exists(), process)  # noqa: B023
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    out = finished(tmp_path, *words)
    assert "resuming the search" in out and trials(tmp_path / "study") == trials(whole)
    for number in range(4):
        table = (whole / str(number) / "metrics.csv").read_bytes()
        assert (tmp_path / "study" / str(number) / "metrics.csv").read_bytes() == table


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_a_stopped_search_reports_and_resumes(number, whole, tmp_path):
    process = begin(tmp_path, *SEARCH)
    folders = lambda: list((tmp_path / "runs").glob("search_*"))
    wait_for(lambda: any((place / "1" / "checkpoints" / "last.pt").exists() for place in folders()), process)
    process.send_signal(number)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 128 + number, error
    (study,) = folders()
    assert "resume=auto" in out and [row["state"] for row in trials(study)] == ["complete", "waiting"]
    assert not (study / "1" / "result.json").exists()
    if number not in (signal.SIGTERM, signal.SIGINT):
        return  # the same record is resumed
    assert "resuming the search" in finished(tmp_path, *SEARCH, "resume=auto")  # the same command finds its study
    assert folders() == [study] and trials(study) == trials(whole)


def test_paused_trials_are_resumed_to_the_bit(typed, tmp_path):
    words = ("-m", "search=random", *SMALL, *SPACE, "search.trials=4", "search.confirm=0", "search.factor=2")
    done = typed(*words, "search.compete=halving", "hydra.sweep.dir=study")
    assert done.returncode == 0, done.stderr
    states = [row["state"] for row in trials(tmp_path / "study")]
    assert states.count("complete") == 1 and states.count("paused") == 3
    winner = states.index("complete")
    for number in range(4):
        assert (tmp_path / "study" / str(number) / "result.json").exists() == (number == winner)
    row = trials(tmp_path / "study")[winner]
    own = typed(*SMALL, "test=false", f"algo.inner_optimizer.lr={row['algo.inner_optimizer.lr']}",
                f"algo.inner_steps={row['algo.inner_steps']}", "hydra.run.dir=alone")  # fmt: skip
    assert own.returncode == 0, own.stderr
    for table in ("metrics.csv", "layers.csv"):
        assert (tmp_path / "alone" / table).read_bytes() == (tmp_path / "study" / str(winner) / table).read_bytes()


def test_bad_trials_are_pruned(typed, tmp_path):
    words = ("-m", "search=random", *SMALL, *SPACE, "search.trials=8", "search.confirm=0", "search.prune=halving")
    done = typed(*words, "hydra.sweep.dir=study")
    assert done.returncode == 0, done.stderr
    rows = trials(tmp_path / "study")
    assert {"complete", "pruned"} == {row["state"] for row in rows} and len(rows) == 8
    for row in rows:
        assert (tmp_path / "study" / row["trial"] / "result.json").exists() == (row["state"] == "complete")


def test_two_workers_share_a_search(tmp_path):
    out = finished(tmp_path, *SEARCH, "search.trials=6", "search.workers=2", "hydra.sweep.dir=study")
    rows = trials(tmp_path / "study")
    assert [row["state"] for row in rows] == ["complete"] * 6 and {row["worker"] for row in rows} == {"0", "1"}, out


def test_several_objectives_and_seeds(typed, tmp_path):
    words = ("-m", "search=random", *SMALL, *SPACE, "search.trials=3", "hydra.sweep.dir=study")
    done = typed(*words, "search.objectives=[val_accuracy,train_seconds]", "search.seeds=2")
    assert done.returncode == 0 and " on the Pareto front (*), then others" in done.stdout, done.stderr
    assert (
        "not confirmed: search.confirm compares by val_accuracy, and this search has search.objectives=[" in done.stdout
    )
    assert len(list((tmp_path / "study").glob("*/seed1/result.json"))) == 3


def test_a_failed_trial_is_recorded_and_the_search_continues(typed, tmp_path):
    words = ("-m", "search=grid", *SMALL, "way=choice(5, 100, 3)", "search.confirm=0", "hydra.sweep.dir=study")
    done = typed(*words)
    assert done.returncode == 0, done.stderr
    states = {row["way"]: row["state"] for row in trials(tmp_path / "study")}
    assert states["5"] == states["3"] == "complete" and states["100"] == "failed" and "way=100" in done.stdout


def test_a_search_of_failures_is_an_error(typed, tmp_path):
    words = ("-m", "search=random", *SMALL, "way=choice(100, 101)", "search.failures=2", "hydra.sweep.dir=study")
    done = typed(*words)
    assert done.returncode == 1 and "3 trials have failed (search.failures=2)" in done.stdout, done.stderr


def test_too_many_failures_end_a_search_that_can_then_go_on(typed, tmp_path):
    """A trial has a score, but the search is not done: its status is 1, and nothing is confirmed."""
    words = ("-m", "search=grid", *SMALL, "way=choice(5, 100, 101, 3)", "hydra.sweep.dir=study")
    confirm = ("search.confirm=1", "search.confirm_seeds=2", "search.confirm_tasks=12")
    done = typed(*words, *confirm, "search.failures=1")
    assert done.returncode == 1 and "the search is not done, and nothing is confirmed" in done.stdout, done.stderr
    assert [row["state"] for row in trials(tmp_path / "study")] == ["complete", "failed", "failed"]
    assert not (tmp_path / "study" / "confirmed.json").exists()
    done = typed(*words, *confirm, "search.failures=2", "resume=auto")
    assert done.returncode == 0 and (tmp_path / "study" / "confirmed.json").exists(), done.stderr
    assert trials(tmp_path / "study")[-1]["state"] == "complete"


def test_a_control_ends_a_search(typed, tmp_path):
    done = typed(*SEARCH, "+search.control.NumberLimit.n=2", "hydra.sweep.dir=study")
    assert done.returncode == 0 and "the search ended: 2 trials are done" in done.stdout, done.stderr
    assert len(trials(tmp_path / "study")) == 2


def test_a_search_in_which_no_trial_ends_confirms_none(typed, tmp_path):
    """The first trial pauses at its rung, and a control ends the search."""
    words = (*SEARCH[:-1], "search.compete=halving", "search.factor=2", "+search.control.NumberLimit.n=1")
    done = typed(*words, "hydra.sweep.dir=study")
    assert done.returncode == 0, done.stderr
    assert "no trial trained to its end" in done.stdout + done.stderr
    assert [row["state"] for row in trials(tmp_path / "study")] == ["paused"]


def test_mistakes_are_one_line_before_any_trial(typed, tmp_path):
    refused(typed("search=tpe", *SMALL), "add -m", folder=tmp_path)
    refused(typed("-m", "search=tpe", *SMALL, "algo.inner_steps=range(1, 1)"), "an empty range", folder=tmp_path)
    refused(typed("-m", "search=tpe", *SMALL, "algo.nothing=interval(0, 1)"), "algo.nothing", folder=tmp_path)
    refused(typed("-m", "search=tpe,random", *SMALL, *SPACE), "one search at a time", folder=tmp_path)
    done = typed("-m", "search=tpe", *SMALL, "search/space=nope")
    refused(done, "search/space=nope: no such choice", "there are inner_loop", folder=tmp_path)
    refused(typed("-m", *SMALL, *SPACE), "search over it with search=tpe", folder=tmp_path)


def test_a_study_is_not_resumed_with_other_settings(typed, tmp_path):
    words = ("-m", "search=random", *SMALL, "search.trials=1", "search.confirm=0", "hydra.sweep.dir=study")
    assert typed(*words, SPACE[1]).returncode == 0
    refused(typed(*words, SPACE[1]), "already contains a study")
    for other in ("search=tpe", "search.prune=median", "search.objectives=[train_seconds]", "way=3", "eval.every=2"):
        refused(typed(*words, SPACE[1], "resume=auto", other), "was begun with other settings")
    words = (*words, "algo.inner_steps=range(1, 5)", "resume=auto", "search.seed=1")
    refused(typed(*words), "with other settings (seed: 0 -> 1; space: algo.inner_steps: Int")
