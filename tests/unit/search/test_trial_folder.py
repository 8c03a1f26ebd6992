"""The folder of a trial that was given to another worker."""

import pytest

from metalearn.lifecycle import lock
from metalearn.search import trial
from metalearn.search.settings import Goal
from metalearn.search.study import Candidate


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_folder_in_which_a_worker_still_trains_is_left_to_it(tmp_path, monkeypatch, seeds):
    """Trackers know the trial by its number all the same."""
    used, tracked = [], []

    class Run:
        result = {"val_accuracy": 0.5}  # noqa: RUF012

    def launch(config, folder, invocation, controls, like):
        with lock.hold(folder) if folder.exists() else open(tmp_path / "new", "w"):
            used.append(folder.relative_to(tmp_path).as_posix())
            tracked.append((invocation.identity, invocation.group, invocation.role))
        return Run

    monkeypatch.setattr(trial, "launch", launch)
    trials = trial.Trials(tmp_path, lambda words: {"seed": 0}, (), [Goal("val_accuracy", True)], seeds, group="study",
                          identity="study-ab")  # fmt: skip
    candidate = Candidate(7, {}, [], {})
    first = tmp_path / ("7" if seeds == 1 else "7/seed0")
    first.mkdir(parents=True)
    with lock.hold(first):
        trials(candidate)
    trials(candidate)
    assert used == (["7_2", "7"] if seeds == 1 else ["7/seed0_2", "7/seed1", "7/seed0", "7/seed1"])
    names = ["7"] if seeds == 1 else ["7-seed0", "7-seed1"]
    assert tracked == [(f"study-ab-{name}", "study", "trial") for name in names] * 2
