"""A run from Python: metalearn.compose and metalearn.train."""

import json
import signal
from dataclasses import FrozenInstanceError

import pytest

import metalearn
from metalearn.controls.loop import Paused
from metalearn.lifecycle import run
from metalearn.lifecycle.launch import launch
from metalearn.lifecycle.run_folder import Invocation
from metalearn.lifecycle.setup import prepare
from metalearn.recording.comparison.runs import read_run
from metalearn.runtime.errors import RunExists, Unfinished, UserError
from metalearn.runtime.signals import Signals, Stopped
from metalearn.search.report_control import Report
from tests.helpers.configs import SINUSOID, config
from tests.helpers.resuming import Countdown


def test_a_run_from_python_gives_its_folder_result_and_score(tmp_path):
    done = metalearn.train(metalearn.compose(*SINUSOID), tmp_path / "run")
    assert done.folder == tmp_path / "run"
    assert done.result == json.loads((done.folder / "result.json").read_text())
    assert done.score == done.result["val_mse"]
    assert metalearn.load(done.folder).spec["name"] == "maml"


def test_words_that_are_no_configuration_are_refused():
    with pytest.raises(UserError, match=r"config='algo=anil': give what metalearn.compose returns"):
        metalearn.train("algo=anil")


def test_without_a_folder_each_run_has_one_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (metalearn.train(config(*SINUSOID, "steps=1")) for _ in range(2))
    assert first.folder != second.folder
    assert first.folder.parts[0] == second.folder.parts[0] == "runs"


def test_a_stopped_run_says_where_and_is_resumed_from_python(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Unfinished) as stopped:
        patch.setattr(Signals, "check", Countdown(9, Stopped(signal.SIGINT)))
        metalearn.train(config(*SINUSOID), tmp_path / "run")
    error = stopped.value
    assert (error.reason, error.folder, error.status) == ("stopped by SIGINT", tmp_path / "run", 130)
    assert str(error) == f"stopped by SIGINT at meta-step {error.step}; resume it with resume={tmp_path / 'run'}"
    assert 0 < error.step < 20
    resumed = metalearn.train(config(*SINUSOID) | {"resume": str(tmp_path / "run")})
    assert resumed.folder == tmp_path / "run" and resumed.result["steps_taken"] == 20


def test_a_signal_after_the_last_step_is_answered_with_a_warning(tmp_path, monkeypatch, capfd):
    write = run.write_result

    def written(*a):
        write(*a)
        signal.raise_signal(signal.SIGTERM)  # SIGINT is ignored in a job of the background

    monkeypatch.setattr(run, "write_result", written)
    done = metalearn.train(config(*SINUSOID, "steps=1"), tmp_path)
    assert done.result["steps_taken"] == 1
    assert "WARNING: the run was complete before the signal could stop it" in capfd.readouterr().out


def test_a_folder_with_a_run_is_refused(tmp_path):
    metalearn.train(config(*SINUSOID, "steps=1"), tmp_path)
    with pytest.raises(RunExists, match="already contains a run"):
        metalearn.train(config(*SINUSOID, "steps=1"), tmp_path)


def test_a_setup_is_frozen_and_nothing_is_written_to_prepare_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    setup = prepare(config(*SINUSOID))
    assert not list(tmp_path.iterdir())
    for part in (setup, setup.phase, setup.settings, setup.evaluation, setup.control):
        with pytest.raises(FrozenInstanceError):
            part.steps = 3


def test_controls_are_checked_before_any_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="unknown value nothing"):
        prepare(config(*SINUSOID, "+control.cycle.Info.f=nothing"))
    with pytest.raises(UserError, match="no control trains"):
        prepare(config(*SINUSOID, "~control.cycle.Step"))
    assert not list(tmp_path.iterdir())


def test_a_run_that_a_study_ends_early_keeps_its_role_and_why(tmp_path):
    words, place = [*SINUSOID, "test=false", "resume=auto"], tmp_path / "run"
    invocation = Invocation(overrides=words, role="trial")
    with pytest.raises(Paused):
        launch(config(*words), place, invocation, controls={"own": Report(lambda step, loss: "pruned")})
    found = read_run(place, "0")
    assert found.settings["role"] == "trial" and found.status.startswith("pruned: recorded up to meta-step ")
    launch(config(*words), place, invocation)
    assert read_run(place, "0").status == "" and not (place / "job.json").exists()
