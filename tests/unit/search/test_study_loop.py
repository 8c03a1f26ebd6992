"""The controls of a training end a study too, at the same trial after a kill."""

import shutil

import pytest

from metalearn.runtime.errors import UserError
from metalearn.search.competition import plan
from metalearn.search.records import counted
from metalearn.search.study import Study
from tests.helpers.configs import every
from tests.unit.search.toys import ACCURACY, MSE, Toys, drawn, dying_after, run, study_in

SCORES = [0.5, 0.6, 0.4, 0.7, 0.65, 0.6, 0.55, 0.9, 0.1, 0.2]


def scored(candidate):
    return [SCORES[candidate.number]]


def seven(run):
    """A callback: True once a trial has 0.7 or better."""
    return run.model.values.get("best", 0) >= 0.7


def early(run):
    """A callback: True if the best of the first two trials has 0.7: it has not, but a later one has."""
    return run.step == 2 and run.model.values["best"] >= 0.7


CONTROLS = {
    "NumberLimit": ({"NumberLimit": {"n": 5}}, 5),
    "Patience": ({"Patience": {"n": 3}}, 7),  # 0.65, 0.6, 0.55 after 0.7
    "Threshold": ({"Threshold": {"value": 0.35}}, 4),  # an error rate
    "NumberSinceBest": ({"NumberSinceBest": {"n": 2}}, 6),
    "GL": ({"GL": {"alpha": 30}}, 3),  # 100 (0.6 / 0.4 - 1)
    "Callback": ({"Callback": {"f": f"{__name__}.seven", "stop_if_true": True}}, 4),
    "steps": ({"Callback": {"f": f"{__name__}.early", "stop_if_true": True}}, 10),  # the future is not seen
    "WarmUp": ({"WarmUp": {"n": 4, "control": {"Threshold": {"value": 0.5}}}}, 5),
    "named": ({"mine": {"_target_": "metalearn.controls.NumberLimit", "n": 2}}, 2),
}


@pytest.mark.parametrize("name", every(6, CONTROLS))
def test_a_control_ends_a_study_where_it_would_after_a_kill(name, tmp_path):
    criteria, trials = CONTROLS[name]
    alone = tmp_path / "alone"
    alone.mkdir()
    whole = study_in(alone, trials=10)
    stop = run(whole, scored, criteria=criteria)
    assert len(whole.records()) == trials and stop.control in (name, "mine", "trials")
    expected = drawn(whole)
    assert drawn(again(alone, criteria)) == expected  # started anew after its end, it does nothing
    moments = len((alone / "study.journal").read_text().splitlines())
    for moment in range(3, moments, max(1, moments // 6)):
        place = tmp_path / str(moment)
        place.mkdir()
        with dying_after(moment):
            run(study_in(place, trials=10), scored, criteria=criteria)
        assert drawn(again(place, criteria)) == expected, moment
        shutil.rmtree(place)


def again(folder, criteria) -> Study:
    study = study_in(folder, trials=10)
    run(study, scored, criteria=criteria)
    return study


def test_a_number_limit_counts_trials_as_the_total_does():
    """Neither failures nor further rungs are further trials."""

    def fails(candidate):
        if candidate.number in (0, 2, 3):
            raise RuntimeError("no")
        return scored(candidate)

    study = study_in(None, trials=10)
    stop = run(study, fails, criteria={"NumberLimit": {"n": 3}})
    assert len(counted(study.records())) == 3 and len(study.records()) == 6
    assert stop.reason == "3 trials are done"
    competition = plan("hyperband", trials=6, iterations=4, every=1, factor=2, first=None, maximize=True)
    study = study_in(None, trials=6, competition=competition)
    run(study, Toys(4, 1), criteria={"NumberLimit": {"n": 5}})
    assert len(counted(study.records())) == 5 < len(study.records())
    study = study_in(None, trials=9)
    run(study, scored, criteria={"WarmUp": {"n": 4, "control": {"NumberLimit": {"n": 3}}}})
    assert len(study.records()) == 7


def test_a_paused_trial_has_its_last_score_as_loss():
    """With infinite losses, the first trial would stay the best until one trains to its end."""
    competition = plan("halving", trials=9, iterations=9, every=1, factor=3, first=None, maximize=True)
    study = study_in(None, trials=9, competition=competition)
    stop = run(study, Toys(9, 1, lambda c: 0.1 * c.number), criteria={"NumberSinceBest": {"n": 4}})
    assert stop.control == "trials" and len(study.records()) == 9 + 3 + 1
    study = study_in(None, trials=9, competition=competition)
    stop = run(study, Toys(9, 1, lambda c: 0.9 - 0.1 * c.number), criteria={"NumberSinceBest": {"n": 4}})
    assert stop.control == "NumberSinceBest" and len(study.records()) == 5


def test_a_time_limit_counts_the_time_of_trials_over_all_sessions(tmp_path, monkeypatch):
    """Ten trials of 1,000 s; 1 h ends at the fourth, also in sessions of one trial."""
    clock = [0.0]
    monkeypatch.setattr("metalearn.search.study.time.monotonic", lambda: clock[0])

    def slow(candidate):
        clock[0] += 1000
        return scored(candidate)

    hour = {"TimeLimit": {"hours": 1}}
    for session in range(1, 6):
        study = study_in(tmp_path, trials=10)
        stop = run(study, slow, criteria={**hour, "NumberLimit": {"n": session}})
    assert len(study.records()) == 4 and stop.control == "TimeLimit" and stop.reason == "1 hours have passed"


def test_a_loss_follows_the_objective(tmp_path):
    """Accuracies become error rates, a mean square error is itself."""
    study = study_in(None, trials=10)
    assert run(study, scored, criteria={"Threshold": {"value": 0.11}}).control == "Threshold"
    assert len(study.records()) == 8  # 0.9
    study = study_in(None, trials=10, goals=(MSE,))
    run(study, scored, criteria={"Threshold": {"value": 0.11}})
    assert len(study.records()) == 9  # 0.1


def test_a_study_with_two_objectives_ends_by_number_and_by_callback():
    for criteria in ({"NumberLimit": {"n": 4}}, CONTROLS["Callback"][0]):
        study = study_in(None, trials=10, goals=(ACCURACY, MSE))
        run(study, lambda candidate: [*scored(candidate), 1.0], criteria=criteria)
        assert len(study.records()) == 4


@pytest.mark.parametrize("limit", [0, 2])
def test_too_many_failures_end_a_study_also_after_a_kill(limit, tmp_path):
    def fails(candidate):
        if candidate.number % 2:
            raise RuntimeError("no")
        return [0.5]

    place, alone = tmp_path / "killed", tmp_path / "alone"
    place.mkdir(), alone.mkdir()
    whole = study_in(alone, trials=20)
    stop = run(whole, fails, failures=limit)
    assert stop.control == "failures" and len(whole.failed()) == limit + 1
    assert stop.reason == f"{limit + 1} trials have failed (search.failures={limit})"
    with dying_after(15):
        run(study_in(place, trials=20), fails, failures=limit)
    study = study_in(place, trials=20)
    assert run(study, fails, failures=limit) == stop and drawn(study) == drawn(whole)


def test_a_failed_trial_is_an_infinite_loss():
    def fails(candidate):
        if candidate.number == 1:
            raise RuntimeError("no")
        return scored(candidate)

    study = study_in(None, trials=10)
    stop = run(study, fails, criteria={"Patience": {"n": 1}})
    assert stop.control == "Patience" and len(study.records()) == 2


def test_a_signal_between_trials_ends_the_loop(tmp_path):
    from metalearn.runtime.signals import Stopped

    calls = []

    def check():
        calls.append(1)
        if len(calls) > 3:
            raise Stopped(15)

    study = study_in(None, trials=10)
    with pytest.raises(Stopped):
        run(study, scored, check=check)
    assert len(study.records()) == 3


def test_the_loop_tells_of_each_of_its_own_trials_once(tmp_path):
    run(study_in(tmp_path, trials=3), scored)
    told = []
    run(study_in(tmp_path, trials=5), scored, after=lambda: told.append(1))
    assert len(told) == 2


def test_the_loop_ends_where_the_last_trial_of_another_worker_is_withdrawn(monkeypatch):
    """The loop ends although the study had something to do at one look and nothing at the next."""
    study = study_in(None, trials=2)
    real, looks, lied = study.more, [], []

    def more():
        looks.append(1)
        if len(looks) > 200:
            pytest.fail("the loop does not end")
        full = not real()
        lied.append(full)
        return not full or lied.count(True) == 1

    monkeypatch.setattr(study, "more", more)
    assert run(study, scored).reason == "all 2 trials are done"


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        ({"Patience": {}}, "search.control.Patience.n: a value is needed"),
        ({"Nothing": {}}, "search.control.Nothing: unknown control"),
        ({"Threshold": 5}, "search.control.Threshold=5: expects a group of settings"),
    ],
)
def test_a_wrong_control_is_refused(criteria, message):
    study = study_in(None, trials=2)
    with pytest.raises(UserError) as error:
        run(study, scored, criteria=criteria)
    assert message in str(error.value) and not study.records()
