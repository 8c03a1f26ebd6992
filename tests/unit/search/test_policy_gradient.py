"""Policy gradient: draws follow the stated probabilities, updates the stated derivative, and nothing is remembered."""

import math

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy import stats

from metalearn.search.policy_gradient import CategoricalActor, GaussianActor, PolicyGradientSampler
from metalearn.search.unit_interval import to_unit
from tests.helpers.configs import every
from tests.unit.search.toys import MIXED, run, study_in


def generator(number):
    return np.random.default_rng([number, 7])


def test_draws_of_a_choice_follow_its_probabilities():
    actor = CategoricalActor(["a", "b", "c", "d"])
    actor.logits = np.array([0.5, -1.0, 0.0, 1.2])
    assert actor.probabilities == pytest.approx(np.exp(actor.logits) / np.exp(actor.logits).sum())
    draws = [actor.sample(generator(number)) for number in range(4000)]
    counts = [draws.count(value) for value in actor.values]
    assert stats.chisquare(counts, 4000 * actor.probabilities).pvalue > 0.01


@pytest.mark.parametrize(("mean", "deviation"), every(2, [(0.5, 0.3), (0.05, 0.2), (1.0, 0.5), (0.3, 0.02)], rows=True))
@pytest.mark.parametrize("distribution", [FloatDistribution(-3, 5), FloatDistribution(0.001, 10, log=True)], ids=str)
def test_draws_of_an_interval_follow_its_truncated_gaussian(distribution, mean, deviation):
    actor = GaussianActor(distribution, mean, deviation)
    draws = [actor.sample(generator(number)) for number in range(1000)]
    assert all(distribution.low <= draw <= distribution.high for draw in draws)
    units = [to_unit(draw, distribution) for draw in draws]
    a, b = -mean / deviation, (1 - mean) / deviation
    assert stats.kstest(units, stats.truncnorm(a, b, mean, deviation).cdf).pvalue > 0.01


def test_draws_of_a_study_follow_the_first_probabilities():
    """Through Optuna, each trial with random numbers of its own: uniform choices, a wide Gaussian."""
    study = study_in(None, MIXED, "policy_gradient")
    for _ in range(400):  # none is finished: nothing is learned
        study.space.suggest(study.record.ask())
    params = [t.params for t in study.records()]
    for name in ("norm", "steps"):
        _, counts = np.unique([p[name] for p in params], return_counts=True)
        assert stats.chisquare(counts).pvalue > 0.01
    units = [to_unit(p["lr"], FloatDistribution(0.001, 1, log=True)) for p in params]
    a, b = -0.5 / 0.3, 0.5 / 0.3
    assert stats.kstest(units, stats.truncnorm(a, b, 0.5, 0.3).cdf).pvalue > 0.01
    rates, steps = np.array(units), np.array([p["steps"] for p in params])
    assert abs(stats.spearmanr(rates, steps).statistic) < 0.15  # hyperparameters are independent


REWARDS = np.array([1.2, -0.3, 0.4, 0.9])  # their sum is not 0, which would hide constant terms


def test_the_update_of_a_choice_is_the_derivative_of_the_expected_reward():
    """Mean over a batch of reward * log p(action), by finite differences."""
    actions = ["a", "c", "a", "b"]

    def objective(logits):
        log_p = logits - np.log(np.exp(logits).sum())
        return np.mean([reward * log_p["abc".index(a)] for a, reward in zip(actions, REWARDS, strict=True)])

    actor = CategoricalActor(["a", "b", "c"])
    before = np.array([0.3, -0.2, 0.9])
    actor.logits = before.copy()
    slope = [(objective(before + h) - objective(before - h)) / 2e-6 for h in 1e-6 * np.eye(3)]
    actor.update(actions, REWARDS, rate=0.1)
    assert actor.logits - before == pytest.approx(0.1 * np.array(slope), abs=1e-8)


@pytest.mark.parametrize("mean", [0.4, 0.05, 0.95])
def test_the_update_of_an_interval_is_the_derivative_of_the_expected_reward(mean):
    """In units of the standard deviation: its square times the derivative for the mean, half of it for the logarithm."""
    distribution, deviation, rate = FloatDistribution(0.01, 100, log=True), 0.25, 0.01
    actions = [0.02, 3.0, 50.0, 0.5]
    units = [to_unit(action, distribution) for action in actions]

    def objective(mean, log_deviation):
        s = math.exp(log_deviation)
        log_p = stats.truncnorm(-mean / s, (1 - mean) / s, mean, s).logpdf(units)
        return np.mean(REWARDS * log_p)

    start, h = math.log(deviation), 1e-5
    by_mean = (objective(mean + h, start) - objective(mean - h, start)) / (2 * h)
    by_log = (objective(mean, start + h) - objective(mean, start - h)) / (2 * h)
    actor = GaussianActor(distribution, mean, deviation)
    actor.update(actions, REWARDS, rate)
    assert actor.mean - mean == pytest.approx(rate * deviation**2 * by_mean, rel=1e-5)
    assert math.log(actor.deviation) - start == pytest.approx(rate * by_log / 2, rel=1e-5)


def test_a_gaussian_stays_in_its_interval_and_never_becomes_a_point():
    actor = GaussianActor(FloatDistribution(0, 1))
    for _ in range(200):
        actor.update([1.0, 0.98, 0.1, 0.0], np.array([1.0, 1.0, -1.0, -1.0]), rate=1.0)
    assert 0.5 < actor.mean <= 1 and actor.smallest <= actor.deviation <= 1
    assert all(0 <= actor.sample(generator(number)) <= 1 for number in range(100))


@pytest.mark.parametrize(
    ("distribution", "kind"),
    [
        (CategoricalDistribution(("a", "b")), CategoricalActor),
        (IntDistribution(1, 5), CategoricalActor),
        (IntDistribution(0, 100, step=10), CategoricalActor),
        (FloatDistribution(0, 1, step=0.25), CategoricalActor),
        (IntDistribution(1, 1000), GaussianActor),
        (IntDistribution(1, 16, log=True), GaussianActor),
        (FloatDistribution(0, 1), GaussianActor),
    ],
    ids=str,
)
def test_short_ranges_are_choices_and_long_ones_gaussians(distribution, kind):
    study = study_in(None, ["x=range(3)"], "policy_gradient")
    actor = PolicyGradientSampler(0).actor(study.record, "x", distribution)
    assert type(actor) is kind
    draws = [actor.sample(generator(number)) for number in range(300)]
    assert all(distribution._contains(distribution.to_internal_repr(draw)) for draw in draws)
    if kind is CategoricalActor:
        assert set(draws) == set(actor.values)


def test_a_sampler_remembers_nothing():
    """One asked for the first time knows what one that was there from the beginning knows."""
    study = study_in(None, MIXED, "policy_gradient", trials=17)
    run(study)
    distribution = study.space.hyperparameters[0].distribution
    sampler = PolicyGradientSampler(0)
    first = sampler.actor(study.record, "lr", distribution)
    sampler.actor(study.record, "norm", study.space.hyperparameters[2].distribution)
    assert sampler.actor(study.record, "lr", distribution) == first
    assert PolicyGradientSampler(99).actor(study.record, "lr", distribution) == first
    assert first.mean != 0.5  # and it has learned


def test_only_whole_batches_teach_and_equal_rewards_teach_nothing():
    study = study_in(None, ["x=interval(0, 1)"], "policy_gradient", trials=9)
    run(study, lambda candidate: [candidate.values["x"]])
    distribution = study.space.hyperparameters[0].distribution
    five, three = (PolicyGradientSampler(0, batch=n).actor(study.record, "x", distribution) for n in (5, 3))
    assert PolicyGradientSampler(0, batch=10).actor(study.record, "x", distribution).mean == 0.5
    assert 0.5 < five.mean != three.mean > 0.5
    flat = study_in(None, ["x=interval(0, 1)"], "policy_gradient", trials=9)
    run(flat, lambda candidate: [1.0])
    assert PolicyGradientSampler(0).actor(flat.record, "x", distribution).mean == 0.5


def test_rewards_are_the_same_on_any_scale():
    actors = []
    for scale, shift in ((1, 0), (1000, -5)):
        study = study_in(None, ["x=interval(0, 1)"], "policy_gradient", trials=10)
        run(study, lambda candidate: [scale * candidate.values["x"] + shift])  # noqa: B023
        actors.append(PolicyGradientSampler(0).actor(study.record, "x", FloatDistribution(0, 1)))
    assert actors[0].mean == pytest.approx(actors[1].mean) and actors[0].mean > 0.5


def test_a_conditional_hyperparameter_learns_from_the_trials_that_have_it():
    words = ["a=choice(x, y)", 'b=tag("if a=x", interval(0, 1))']
    study = study_in(None, words, "policy_gradient", trials=60)
    run(study, lambda candidate: [candidate.values.get("b", 0.5)])
    late = [t.params["b"] for t in study.records()[30:] if "b" in t.params]
    assert np.mean(late) > 0.7
