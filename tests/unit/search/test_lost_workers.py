"""Trials whose worker is lost, or whose storage lost an answer. The storage is PatientStorage, here on SQLite."""

import time

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from metalearn.search import heartbeats, patient_storage, study_loop
from metalearn.search.copies import add_again
from metalearn.search.parse import parse
from metalearn.search.patient_storage import PatientStorage
from metalearn.search.records import LOST, RETRIES, WITHDRAWN, counted, latest, message, number
from metalearn.search.settings import Goal
from metalearn.search.storage import quiet_optuna
from metalearn.search.study import OWN, Study


@pytest.fixture
def storage(tmp_path, monkeypatch):
    monkeypatch.setattr(patient_storage, "_PAUSE", 0)
    monkeypatch.setattr(patient_storage, "announce", lambda text: None)
    return PatientStorage(f"sqlite:///{tmp_path / 'study.db'}", 1, {})


@pytest.fixture
def study(storage):
    record = optuna.create_study(storage=storage, study_name="study", sampler=optuna.samplers.RandomSampler(seed=0))
    return Study(record=record, space=parse(["x=interval(0, 1)"]), goals=[Goal("loss", False)], trials=3)


def lose_the_answer(monkeypatch, name: str) -> None:
    """Let the next call be carried out, and its answer be lost."""
    method = getattr(RDBStorage, name)

    def once(*args, **options):
        monkeypatch.setattr(RDBStorage, name, method)
        method(*args, **options)
        raise OperationalError("COMMIT", {}, Exception("connection lost"))

    monkeypatch.setattr(RDBStorage, name, once)


def silent(storage, monkeypatch) -> None:
    """Let all heartbeats be old, and this worker be connected for long."""
    storage.patience.connected -= 100
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00.000000'")


def score(candidate) -> list[float]:
    return [candidate.values["x"]]


def finish(study) -> None:
    while study.run_next(score):
        pass


def test_a_result_whose_answer_was_lost_is_recorded_once(study, monkeypatch):
    lose_the_answer(monkeypatch, "set_trial_state_values")
    assert study.run_next(score)
    (trial,) = study.records()
    assert trial.state == TrialState.COMPLETE and trial.value == trial.params["x"]


def test_a_result_after_another_end_is_refused(study, storage):
    trial = heartbeats.ask(study.record)
    storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    with pytest.raises(UpdateFinishedTrialError):
        storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [0.5])


def test_a_trial_that_was_created_twice_is_not_waited_for_without_end(study, storage, monkeypatch):
    """The first of the two has no worker and no heartbeat, which Optuna would never miss."""
    lose_the_answer(monkeypatch, "_create_new_trial")
    assert study.run_next(score)
    assert [trial.state for trial in study.records()] == [TrialState.RUNNING, TrialState.COMPLETE]
    storage.patience.connected -= 100
    heartbeats.retry_lost(study.record)  # it is given a heartbeat
    silent(storage, monkeypatch)
    finish(study)
    assert not study.more()
    assert len(counted(study.records())) == 3
    assert all(trial.state == TrialState.COMPLETE for trial in study.latest().values())


def test_a_silent_worker_is_judged_only_by_one_that_was_connected_for_as_long(study, storage, monkeypatch):
    trial = heartbeats.ask(study.record)
    silent(storage, monkeypatch)
    storage.patience.connected = time.monotonic()
    heartbeats.retry_lost(study.record)
    assert study.records()[0].state == TrialState.RUNNING
    silent(storage, monkeypatch)
    heartbeats.retry_lost(study.record)
    first, second = study.records()
    assert (first.state, second.state) == (TrialState.FAIL, TrialState.WAITING)
    assert number(second) == trial.number and second.user_attrs[LOST] == 1


def test_a_trial_is_retried_with_its_number_and_values_and_its_first_worker_records_nothing(
    study, storage, monkeypatch, capsys
):
    def slow(candidate):
        report = candidate.controls[OWN]._report
        assert report(1, 0.5) is None
        monkeypatch.setattr(PatientStorage, "record_heartbeat", lambda storage, trial_id: None)  # as if suspended
        silent(storage, monkeypatch)
        other = Study(record=study.record, space=study.space, goals=study.goals, trials=1)
        assert other.run_next(lambda again: [again.values["x"]] if again.values == candidate.values else [9.0])
        assert report(2, 0.4) == "given to another worker"
        return [5.0]

    assert not study.run_next(slow)
    assert "trial 0: given to another worker, since this one was silent; dropped" in capsys.readouterr().out
    (trial,) = study.latest().values()
    assert trial.state == TrialState.COMPLETE and trial.value == trial.params["x"] and number(trial) == 0


def test_a_lost_trial_keeps_its_place_even_if_the_worker_that_found_it_is_killed(study, storage):
    trial = heartbeats.ask(study.record)
    trial.set_user_attr("number", 0)
    storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)  # and then the worker is killed
    assert counted(study.records()) == [0] and study.failed() == []
    finish(study)
    assert len(counted(study.records())) == 3
    assert sorted(number(trial) for trial in study.latest().values()) == [0, 1, 2]


def test_a_trial_is_given_up_after_some_workers(study, storage, monkeypatch):
    for _ in range(RETRIES + 1):
        trial = heartbeats.ask(study.record)
        assert int(trial.user_attrs.get("origin", trial.number)) == 0
        silent(storage, monkeypatch)
        heartbeats.retry_lost(study.record)
    (last,) = study.failed()
    assert message(last) == "its worker was lost, 3 times"
    assert counted(study.records()) == []


def test_a_trial_added_twice_is_trained_once(study, storage, monkeypatch):
    trial = heartbeats.ask(study.record)
    trial.set_user_attr("number", 0)
    storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    for _ in range(2):
        add_again(study.record, study.records()[0], {LOST: 1})
    trained = []

    def train(candidate):
        trained.append(candidate.number)
        return score(candidate)

    for _ in range(8):
        study.run_next(train)
    assert sorted(trained) == [0, 1, 2]
    assert sum(WITHDRAWN in trial.user_attrs for trial in study.records()) == 1
    assert not study.more() and len(latest(study.records())) == 3


def test_nobody_leaves_while_a_lost_trial_is_to_be_tried_again(study, storage):
    """The worker that found it silent was killed before it added it again."""
    for last in (2, 3):  # the last of 3 trials, and one beyond the total
        while len(study.records()) < last:
            assert study.run_next(score)
        trial = heartbeats.ask(study.record)
        trial.set_user_attr("number", last)
        assert study.more() and study.busy()
        storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        assert study.more() == study.busy() == (last == 2)
        finish(study)
        assert not study.more() and not study.busy() and len(counted(study.records())) == 3 + (last == 3)


def test_the_trials_of_a_dead_worker_are_given_up_at_once(study):
    study.worker = "here:1"
    for worker in ("here:1", "here:2"):
        trial = heartbeats.ask(study.record)
        trial.set_user_attr("number", trial.number)
        trial.set_user_attr("worker", worker)
    study.recover()
    assert [trial.state for trial in study.records()] == [TrialState.RUNNING] * 2
    study.recover("here:1")
    heartbeats.retry_lost(study.record)
    first, second, third = study.records()
    assert (first.state, second.state, third.state) == (TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING)
    assert number(third) == 0 and third.user_attrs[LOST] == 1


def test_a_search_that_a_control_has_ended_finishes_what_was_begun(study, monkeypatch):
    """Another worker trains trial 0 and dies; this one takes it over, and begins nothing new."""
    other = heartbeats.ask(study.record)
    other.set_user_attr("number", 0)
    other.set_user_attr("worker", "other:1")
    trained, pauses = [], []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            study.recover("other:1")
        assert len(pauses) < 9

    def train(candidate):
        trained.append(candidate.number)
        return score(candidate)

    monkeypatch.setattr("metalearn.search.study_loop.time.sleep", sleep)
    with quiet_optuna():
        stop = study_loop.run(study, train, criteria={"NumberLimit": {"n": 1}})
        assert stop.reason == "1 trials are done" and trained == [1]
        study_loop.finish_begun(study, train, lambda: None, lambda: None)
    assert trained == [1, 0] and len(pauses) == 3 and len(counted(study.records())) == 2
