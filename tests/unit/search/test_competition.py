"""Competing models: sizes and rungs computed by hand, promotions of the best, and what is spent."""

import math
import shutil

import pytest
from optuna.trial import TrialState, create_trial

from metalearn.runtime.errors import UserError
from metalearn.search.competition import Bracket, Competition, plan
from metalearn.search.records import BRACKET, ORIGIN, RUNG, number
from metalearn.search.storage import quiet_optuna
from tests.helpers.configs import every
from tests.unit.search.toys import ACCURACY, MSE, Toys, drawn, dying_after, run, study_in

WORDS = ["x=range(0, 100)"]


def planned(mode, trials, iterations, every=1, factor=3, first=None, maximize=True):
    made = plan(mode, trials=trials, iterations=iterations, every=every, factor=factor, first=first, maximize=maximize)
    return [(bracket.size, bracket.rungs) for bracket in made.brackets]


@pytest.mark.parametrize(
    ("settings", "rungs"),
    [
        ({"trials": 27, "iterations": 81}, (3, 9, 27, 81)),  # as few as leaves one: 27, 9, 3, 1
        ({"trials": 26, "iterations": 81}, (9, 27, 81)),
        ({"trials": 1000, "iterations": 81}, (1, 3, 9, 27, 81)),
        ({"trials": 1000, "iterations": 81, "every": 5}, (10, 25, 81)),  # multiples of 5; 81 / 27 is too short
        ({"trials": 16, "iterations": 100, "factor": 2, "every": 10}, (10, 20, 50, 100)),
        ({"trials": 40, "iterations": 2000, "every": 50}, (50, 200, 650, 2000)),
        ({"trials": 4, "iterations": 2000, "every": 50}, (650, 2000)),
        ({"trials": 4, "iterations": 2000, "every": 50, "first": 100}, (100, 300, 900, 2000)),
        ({"trials": 9, "iterations": 90, "first": 10}, (10, 30, 90)),
        ({"trials": 9, "iterations": 90, "every": 4, "first": 10}, (12, 36, 90)),
    ],
)
def test_rungs_of_halving(settings, rungs):
    assert planned("halving", **settings) == [(settings["trials"], rungs)]


def test_brackets_of_hyperband_spend_equal_budgets():
    """Li et al. 2018, table 1: R = 81 and factor 3 give 81, 34, 15, 8, 5 trials."""
    rungs = (1, 3, 9, 27, 81)
    assert planned("hyperband", 143, 81) == [
        (81, rungs), (34, rungs[1:]), (15, rungs[2:]), (8, rungs[3:]), (5, rungs[4:])]  # fmt: skip


@pytest.mark.parametrize("trials", range(3, 60, 7))
def test_brackets_share_all_trials(trials):
    found = planned("hyperband", trials, 81)
    assert sum(size for size, _ in found) == trials and all(size > 0 for size, _ in found)
    assert all(rungs[-1] == 81 and list(rungs) == sorted(set(rungs)) for _, rungs in found)


@pytest.mark.parametrize("settings", [
    {"trials": 40, "iterations": 10, "every": 10}, {"trials": 2, "iterations": 81}, {"trials": 40, "iterations": 2},
    {"trials": 40, "iterations": 50, "first": 50}, {"trials": 1, "iterations": 1000}])  # fmt: skip
def test_a_training_too_short_for_two_rungs_is_refused(settings):
    with pytest.raises(UserError, match=r"leave no rung before the end; lower eval.every= or search.first_rung="):
        planned("halving", **settings)


def record(origin, score=None, rung=0, state=TrialState.PRUNED, bracket=0, step=1):
    values = {} if score is None else {step: score}
    return create_trial(state=state, value=0.0 if state == TrialState.COMPLETE else None, intermediate_values=values,
                        user_attrs={ORIGIN: origin, RUNG: rung, BRACKET: bracket})  # fmt: skip


def promoted(scores, maximize=True, factor=3, complete=False, size=None, rungs=(1, 3, 9)):
    trials = {n: s if not isinstance(s, float | int) else record(n, s) for n, s in enumerate(scores)}
    competition = Competition((Bracket(size or len(trials), rungs),), factor, maximize)
    return competition.promotions(trials, complete)


def test_the_best_third_is_promoted():
    scores = [0.1, 0.9, 0.3, 0.8, 0.2, 0.7, 0.4, 0.5, 0.6]
    assert promoted(scores) == [1, 3, 5]
    assert promoted(scores, maximize=False) == [0, 4, 2]
    assert promoted(scores[:8]) == [1, 3] and promoted(scores, factor=2) == [1, 3, 5, 8]
    assert promoted(scores[:2]) == [1]  # at least one


def test_of_equal_trials_the_first_are_promoted():
    assert promoted([0.5] * 9) == [0, 1, 2]
    assert promoted([0.1] * 6 + [0.5] * 3) == [6, 7, 8]


def test_no_trial_is_promoted_before_its_bracket_is_full_and_all_have_reached_the_rung():
    assert promoted([0.1, 0.2, 0.3], size=4) == []
    assert promoted([0.1, 0.2, 0.3], size=4, complete=True) == [2]
    for state in (TrialState.RUNNING, TrialState.WAITING):
        assert promoted([0.1, 0.2, record(2, state=state)]) == []


def test_failed_trials_and_those_without_a_score_are_never_promoted():
    failed = record(0, 0.9, state=TrialState.FAIL)
    assert promoted([failed, 0.1, 0.2], size=2) == [2]
    assert promoted([record(0), math.nan, 0.1, 0.2, math.inf, -math.inf], factor=2) == [3, 2]
    assert promoted([math.nan] * 3) == []


def test_a_trial_that_fails_after_its_promotion_gives_its_place_to_another():
    scores = [0.1, 0.9, 0.3, 0.8, 0.2, 0.7]
    assert promoted(scores) == [1, 3]
    after = [0.1, record(1, 0.9, 1, TrialState.FAIL), 0.3, record(3, 0.8, 1), 0.2, 0.7]
    assert promoted(after, size=6) == []  # a new trial is asked for first
    assert promoted([*after, 0.75], size=6) == [6]
    assert promoted([*after, 0.4], size=6) == [5]


def test_promotions_continue_where_a_kill_left_them():
    scores = [0.1, 0.9, 0.3, 0.8, 0.2, 0.7, 0.4, 0.5, 0.6]
    scores[1] = record(1, 0.95, 1, step=3)  # promoted and trained before the others were promoted
    assert promoted(scores) == [3, 5]


def test_the_last_rung_is_the_end():
    whole = [record(n, 0.5, rung, TrialState.COMPLETE if rung == 2 else TrialState.PRUNED)
             for n, rung in enumerate([2, 1, 1, 0, 0, 0, 0, 0, 0])]  # fmt: skip
    assert promoted(whole) == []


# Whole studies of toys


@pytest.mark.parametrize("better", [ACCURACY, MSE], ids=["maximize", "minimize"])
def test_halving_trains_the_best_to_the_end(better, tmp_path):
    """9 trials, 9 steps: all take 1, the best three 3, the best one 9."""
    competition = plan("halving", trials=9, iterations=9, every=1, factor=3, first=None, maximize=better.maximize)
    quality = {n: (n * 4 % 9 + 1) / 10 for n in range(9)}
    toys = Toys(9, 1, lambda candidate: quality[candidate.number])
    evaluate = toys if better.maximize else lambda candidate: [1 - toys(candidate)[0]]
    study = study_in(tmp_path, WORDS, "random", trials=9, competition=competition, goals=(better,))
    stop = run(study, evaluate)
    order = sorted(quality, key=quality.get, reverse=True)
    assert {n: toy.step for n, toy in toys.toys.items()} == {
        n: 9 if n == order[0] else 3 if n in order[:3] else 1 for n in quality
    }
    assert toys.spent == 9 * 1 + 3 * 2 + 1 * 6
    assert stop.reason == "all 9 trials are done" and len(study.latest()) == 9 and len(study.records()) == 13
    states = [t.state for t in study.latest().values()]
    assert states.count(TrialState.COMPLETE) == 1 and states.count(TrialState.PRUNED) == 8
    for trial in study.latest().values():  # each promoted record has the scores of the ones before it
        toy = toys.toys[number(trial)]
        assert sorted(trial.intermediate_values) == toy.taken == list(range(1, toy.step + 1))


def test_hyperband_runs_one_bracket_after_the_other(tmp_path):
    competition = plan("hyperband", trials=17, iterations=9, every=1, factor=3, first=None, maximize=True)
    assert [bracket.size for bracket in competition.brackets] == [9, 5, 3]
    toys = Toys(9, 1, lambda candidate: 0.1 + 0.01 * candidate.number)
    study = study_in(tmp_path, WORDS, "random", trials=17, competition=competition)
    run(study, toys)
    assert toys.spent == (9 + 3 * 2 + 1 * 6) + (5 * 3 + 1 * 6) + 3 * 9
    brackets = [t.user_attrs[BRACKET] for t in study.records()]
    assert brackets == sorted(brackets)
    assert [number(t) for t in study.latest().values()] == list(range(17))  # promotions leave no gaps
    done = [number(t) for t in study.latest().values() if t.state == TrialState.COMPLETE]
    assert done == [8, 13, 14, 15, 16]


def test_failed_trials_are_replaced_in_their_bracket(tmp_path):
    competition = plan("hyperband", trials=17, iterations=9, every=1, factor=3, first=None, maximize=True)
    toys = Toys(9, 1, lambda candidate: 0.1 + 0.01 * candidate.number)
    broken = {1, 12}

    def evaluate(candidate):
        toy = toys.toys.get(candidate.number)
        if candidate.number in broken or (candidate.number == 7 and toy and toy.step == 1):  # one after its promotion
            raise RuntimeError("broken")
        return toys(candidate)

    study = study_in(tmp_path, WORDS, "random", trials=17, competition=competition)
    run(study, evaluate)
    kept = [t.user_attrs[BRACKET] for t in study.latest().values() if t.state != TrialState.FAIL]
    assert [kept.count(bracket) for bracket in range(3)] == [9, 5, 3]
    assert [number(t) for t in study.failed()] == [1, 7, 12]
    assert not study.more()


def test_a_bracket_of_failures_does_not_hold_up_the_others(tmp_path):
    """Two workers: a trial of the first bracket fails when the second bracket has begun."""
    competition = plan("hyperband", trials=17, iterations=9, every=1, factor=3, first=None, maximize=True)
    toys = Toys(9, 1, lambda candidate: 0.1 + 0.01 * candidate.number)
    study = study_in(tmp_path, WORDS, "random", trials=17, competition=competition)

    def late(candidate):
        for _ in range(10):
            study.run_next(toys)
        raise RuntimeError("late")

    with quiet_optuna():
        study.run_next(late)
    run(study, toys)
    kept = [t.user_attrs[BRACKET] for t in study.latest().values() if t.state != TrialState.FAIL]
    assert [kept.count(bracket) for bracket in range(3)] == [9, 5, 3]
    assert [number(t) for t in study.latest().values()] == list(range(18))


def test_a_grid_competes_too_and_its_failed_combinations_are_not_replaced(tmp_path):
    competition = plan("halving", trials=9, iterations=9, every=1, factor=3, first=None, maximize=True)
    toys = Toys(9, 1, lambda candidate: 0.1 * candidate.values["x"])

    def evaluate(candidate):
        if candidate.values["x"] == 4:
            raise RuntimeError("broken")
        return toys(candidate)

    study = study_in(tmp_path, ["x=range(0, 9)"], "grid", trials=9, available=9, competition=competition)
    run(study, evaluate)
    assert [t.params["x"] for t in study.latest().values()] == list(range(9))
    assert max(toys.toys[n].step for n in toys.toys) == 9 == toys.toys[8].step


@pytest.mark.parametrize("sampler", every(3, ["policy_gradient", "tpe", "random"]))
def test_a_competition_killed_at_any_moment_ends_as_one_left_alone(sampler, tmp_path):
    competition = plan("hyperband", trials=7, iterations=4, every=1, factor=2, first=None, maximize=True)

    def opened(folder, trials=7):
        folder.mkdir(exist_ok=True)
        return study_in(folder, WORDS, sampler, trials=trials, competition=competition)

    best = lambda candidate: (candidate.values["x"] + 1) / 101
    whole = opened(tmp_path / "alone")
    run(whole, Toys(4, 1, best))
    moments = len((tmp_path / "alone" / "study.journal").read_text().splitlines())
    for moment in range(6, moments, 7 if sampler == "random" else 31):
        place, toys = tmp_path / str(moment), Toys(4, 1, best)
        place.mkdir()
        with dying_after(moment):
            run(opened(place), toys)
            pytest.fail("it did not die")
        study = opened(place)
        run(study, toys)
        assert drawn(study) == drawn(whole), moment
        shutil.rmtree(place)
