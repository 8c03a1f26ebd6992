"""Samplers: the same seed gives the same trials, also after a kill at any moment; each finds its optimum on a toy."""

import shutil

import numpy as np
import optuna
import pytest
from scipy.stats.qmc import discrepancy

from metalearn.search.competition import plan
from metalearn.search.grid import size
from metalearn.search.records import WITHDRAWN, number
from metalearn.search.samplers import JOINT, SAMPLERS
from metalearn.search.storage import quiet_optuna
from tests.helpers.configs import every
from tests.unit.search.toys import ACCURACY, MIXED, MSE, SPACES, Toys, accuracy, drawn, dying_after, run, study_in

# Small enough that the history below reaches the part of a sampler that learns from it
OPTIONS = {
    "tpe": {"n_startup_trials": 4},
    "gp": {"n_startup_trials": 4},
    "cmaes": {"population": 4},
    "genetic": {"population_size": 4},
    "policy_gradient": {"batch": 4},
}


def of(folder, sampler, **settings):
    options = settings.pop("options", OPTIONS.get(sampler))
    settings = {"seed": 3, **settings}  # under which an order of parents that changes would change a child
    return study_in(folder, settings.pop("words", SPACES.get(sampler, MIXED)), sampler, options=options, **settings)


@pytest.mark.parametrize("sampler", every(3, SAMPLERS))
def test_the_same_seed_draws_the_same_trials(sampler, tmp_path):
    found = []
    for name, seed in {"a": 0, "b": 0, "c": 1}.items():
        (tmp_path / name).mkdir()
        study = of(tmp_path / name, sampler, seed=seed, trials=6)
        run(study)
        found.append(drawn(study))
    assert found[0] == found[1]
    assert (found[0] == found[2]) == (sampler == "grid")


@pytest.mark.parametrize("sampler", every(3, SAMPLERS))
def test_a_study_reopened_after_every_trial_draws_the_trials_of_one_left_alone(sampler, tmp_path):
    alone, again = tmp_path / "alone", tmp_path / "again"
    alone.mkdir(), again.mkdir()
    trials = 6 if sampler == "gp" else 9
    whole = of(alone, sampler, trials=trials)
    run(whole)
    for count in range(1, trials + 1):
        run(of(again, sampler, trials=count))
    assert drawn(of(again, sampler)) == drawn(whole)


@pytest.mark.parametrize("sampler", every(5, SAMPLERS))
def test_a_kill_at_any_moment_of_a_trial_changes_nothing(sampler, tmp_path):
    """The process dies before each of its writes in turn: asked but without a number, with some of the values, ..."""
    before, alone = tmp_path / "before", tmp_path / "alone"
    before.mkdir()
    history = 5 if sampler == "gp" else 8  # two generations
    run(of(before, sampler, trials=history))
    shutil.copytree(before, alone)
    whole = of(alone, sampler, trials=history + 1)
    run(whole)
    moments = len((alone / "study.journal").read_text().splitlines()) - len(
        (before / "study.journal").read_text().splitlines()
    )
    assert moments >= 6
    left = set()
    for moment in range(moments):
        place = tmp_path / str(moment)
        shutil.copytree(before, place)
        with dying_after(moment):
            run(of(place, sampler, trials=history + 1))
            pytest.fail("it did not die")
        left |= {(t.state.name, len(t.params)) for t in of(place, sampler).records()[history:]}
        study = of(place, sampler, trials=history + 1)
        run(study)
        assert drawn(study) == drawn(whole), moment
        shutil.rmtree(place)
    assert ("RUNNING", 0) in left and ("RUNNING", 1) in left  # it was killed half way


@pytest.mark.parametrize("sampler", every(3, SAMPLERS))
def test_a_failed_trial_is_replaced(sampler, tmp_path):
    def fails_once(candidate):
        if candidate.number == 2:
            raise RuntimeError("no")
        return accuracy(candidate)

    study = of(tmp_path, sampler, trials=6)
    run(study, fails_once)
    states = [t.state.name for t in study.records()]
    assert states == ["COMPLETE"] * 2 + ["FAIL"] + ["COMPLETE"] * 4
    assert [number(t) for t in study.records()] == list(range(7))


@pytest.mark.slow
def test_values_lie_in_their_space(tmp_path):
    for sampler in SAMPLERS:
        (tmp_path / sampler).mkdir()
        study = of(tmp_path / sampler, sampler, trials=8)
        run(study)
        for trial in study.records():
            for parameter in study.space.hyperparameters:
                internal = parameter.distribution.to_internal_repr(trial.params[parameter.name])
                assert parameter.distribution._contains(internal)


# Grid


def combinations(study):
    return [tuple(t.params.values()) for t in study.records() if WITHDRAWN not in t.user_attrs]


ORDER = [(steps, norm) for steps in (1, 2, 3) for norm in ("batch", "layer", "none")]


def test_a_grid_visits_each_combination_once_and_in_order(tmp_path):
    study = of(tmp_path, "grid", trials=9, available=9)
    stop = run(study)
    assert combinations(study) == ORDER and len(ORDER) == size(study.space)
    assert stop.reason == "all 9 trials are done"


def test_a_grid_passes_by_combinations_that_fail(tmp_path):
    def fails(candidate):
        if candidate.values["norm"] == "layer":
            raise ValueError("cannot be")
        return accuracy(candidate)

    study = of(tmp_path, "grid", trials=9, available=9)
    run(study, fails)
    assert combinations(study) == ORDER
    assert len(study.failed()) == 3 and not study.more()


def test_a_grid_is_whole_where_a_trial_fails_after_later_ones_have_begun(tmp_path):
    """Two workers: the second draws while the first still trains, and then the first fails."""
    study = of(tmp_path, "grid", trials=9, available=9)

    def first_fails(candidate):
        for _ in range(3):
            study.run_next(accuracy)
        raise RuntimeError("late")

    with quiet_optuna():
        study.run_next(first_fails)
    run(study)
    assert sorted(combinations(study)) == sorted(ORDER)


def test_a_grid_is_whole_under_hyperband_which_shows_a_sampler_its_own_bracket_alone(tmp_path):
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9, reduction_factor=3)
    study = of(tmp_path, "grid", trials=9, available=9, pruner=pruner)
    run(study)
    assert combinations(study) == ORDER


def test_a_part_of_a_grid_replaces_failed_trials(tmp_path):
    def fails(candidate):
        if candidate.number < 2:
            raise ValueError("cannot be")
        return accuracy(candidate)

    study = of(tmp_path, "grid", trials=4, available=9)
    run(study, fails)
    assert combinations(study) == ORDER[:6]


def test_a_grid_of_fractions_has_short_numbers(tmp_path):
    study = study_in(tmp_path, ["a=range(0.1, 0.75, 0.1)"], "grid", trials=7, available=7)
    run(study, lambda candidate: [0.5])
    assert [t.params["a"] for t in study.records()] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]


# Quasi-random


def test_quasi_random_points_are_more_even_than_random_ones():
    def points(sampler, seed):
        study = study_in(None, ["a=interval(0, 1)", "b=interval(0, 1)"], sampler, trials=32, seed=seed)
        run(study, lambda candidate: [0.5])
        return np.array([[t.params["a"], t.params["b"]] for t in study.records()])

    sobol, uniform = ([discrepancy(points(name, seed)) for seed in range(3)] for name in ("qmc", "random"))
    assert max(sobol) < 0.5 * min(uniform)


def test_quasi_random_choices_are_balanced(tmp_path):
    study = study_in(tmp_path, ["a=choice(x, y, z, w)", "b=range(1, 5)"], "qmc", trials=16)
    run(study, lambda candidate: [0.5])
    assert sorted(combinations(study)) == sorted((a, b) for a in "xyzw" for b in range(1, 5))


def test_quasi_random_points_skip_none_where_trials_are_promoted(tmp_path):
    competition = plan("hyperband", trials=16, iterations=9, every=1, factor=3, first=None, maximize=True)
    study = study_in(tmp_path, ["a=range(0, 16)"], "qmc", trials=16, competition=competition)
    run(study, Toys(9, 1, lambda candidate: 0.5))
    assert len(study.records()) > 16
    assert sorted(t.params["a"] for t in study.latest().values()) == list(range(16))


# Learning


@pytest.mark.parametrize("better", [ACCURACY, pytest.param(MSE, marks=pytest.mark.slow)], ids=["maximize", "minimize"])
@pytest.mark.parametrize(
    ("sampler", "trials"),
    every(5, [("policy_gradient", 60), ("tpe", 40), ("cmaes", 60), ("genetic", 60), ("gp", 12)], rows=True),
)
def test_a_sampler_improves_on_a_toy(sampler, trials, better):
    """The mean of its last third is well above that of random draws."""
    options = {"gp": {"n_startup_trials": 6}, "genetic": {"population_size": 10}}
    sign = 1 if better.maximize else -1

    def late_mean(name, seed):
        study = study_in(None, SPACES.get(sampler, MIXED), name, trials=trials, seed=seed, options=options.get(name),
                         goals=(better,))  # fmt: skip
        run(study, lambda candidate: [sign * accuracy(candidate)[0]])
        return np.mean([sign * t.value for t in study.records()][-trials // 3 :])

    seeds = range(1 if sampler == "gp" else 3)
    uniform, learned = (np.mean([late_mean(name, seed) for seed in seeds]) for name in ("random", sampler))
    assert 0.9 - learned < 0.7 * (0.9 - uniform)  # the best accuracy is 0.9


def test_samplers_that_would_draw_a_conditional_space_at_random_are_known():
    """Optuna draws a hyperparameter that some trials lack independently: well by TPE, at random by the others."""
    assert set(JOINT) == {"gp", "cmaes", "genetic"}
    study = study_in(None, ["a=choice(x, y)", 'b=tag("if a=x", interval(0, 1))'], "tpe", trials=60)
    run(study, lambda candidate: [1 - abs(candidate.values.get("b", 0) - 0.8)])
    late = [t.params["b"] for t in study.records()[30:] if "b" in t.params]
    assert len(late) > 15 and np.median(np.abs(np.array(late) - 0.8)) < 0.1


@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe", "genetic", "policy_gradient"])
def test_hyperparameters_are_drawn_independently_of_each_other(sampler):
    """Before anything is learned; each has random numbers of its own."""
    study = study_in(None, ["a=interval(0, 1)", "b=interval(0, 1)", "c=choice(0, 1)"], sampler)
    for _ in range(150):
        study.space.suggest(study.record.ask())
    draws = np.array([[t.params[name] for name in "abc"] for t in study.records()], dtype=float)
    correlations = np.corrcoef(draws.T)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 0.25 and len(np.unique(draws[:, 0])) == 150


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_takes_one_hyperparameter_and_one_value(sampler):
    """Spaces that are as small as can be, past the random beginning."""
    for words in (
        ["a=range(2, 6)"],
        ["a=range(2, 3)", "b=range(0.5, 2, 0.5)"],
        *([["a=choice(x)"]] * (sampler != "cmaes")),
    ):
        study = study_in(None, words, sampler, trials=7, options=OPTIONS.get(sampler))
        run(study, lambda candidate: [0.1 * candidate.number])
        assert [t.state.name for t in study.records()] == ["COMPLETE"] * 7


def test_several_objectives_are_drawn_by_those_that_can():
    for sampler in ("random", "qmc", "tpe", "genetic", "gp"):
        study = study_in(None, MIXED, sampler, trials=6, goals=(ACCURACY, MSE), options=OPTIONS.get(sampler))
        run(study, lambda candidate: [accuracy(candidate)[0], candidate.values["steps"]])
        assert [t.state.name for t in study.records()] == ["COMPLETE"] * 6
