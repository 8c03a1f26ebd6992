"""Population-based training: what may change in mid-training, the perturbation, and schedules."""

import random

import pytest

from metalearn.config.compose import compose
from metalearn.runtime.errors import UserError
from metalearn.search.engine_settings import PopulationSettings
from metalearn.search.parse import parse
from metalearn.search.population import check, extended, perturbed

SINUSOID = ("data=sinusoid", "model.hidden=[8]", "steps=12")
GLYPHS = ("data=glyphs", "data.classes=[20,8,12]", "model.filters=4", "steps=12")
SPACE = parse(["lr=tag(log, interval(0.01, 1))", "steps=range(1, 6)", "norm=choice(batch, layer, none)", "share=range(0.1, 0.5, 0.1)",
               "wide=tag(int, log, interval(8, 64))"])  # fmt: skip
NEAR = PopulationSettings(every=None, quantile=0.25, resample=0.0, factors=[0.8, 1.25])
GOOD = {"lr": 0.5, "steps": 2, "norm": "layer", "share": 0.3, "wide": 16}


def draws(found, settings=NEAR, count=400):
    numbers = random.Random(0)
    return [perturbed(SPACE, found, settings, numbers) for _ in range(count)]


def test_a_perturbed_setting_is_a_little_beside_the_good_one():
    drawn = draws(GOOD)
    assert {round(d["lr"], 6) for d in drawn} == {0.4, 0.625}
    assert {d["steps"] for d in drawn} == {1, 3}  # the factors alone would round back to 2
    assert {d["norm"] for d in drawn} == {"batch", "none"}
    assert {round(d["share"], 6) for d in drawn} == {0.2, 0.4}
    assert {d["wide"] for d in drawn} == {13, 20}
    assert all(list(d) == [p.name for p in SPACE.hyperparameters] for d in drawn)


def test_a_perturbed_setting_stays_inside_the_space():
    for found in ({"lr": 1.0, "steps": 5, "norm": "none", "share": 0.4, "wide": 64},
                  {"lr": 0.01, "steps": 1, "norm": "batch", "share": 0.1, "wide": 8}):  # fmt: skip
        for d in draws(found):
            assert 0.01 <= d["lr"] <= 1 and d["steps"] in range(1, 6) and 8 <= d["wide"] <= 64
            assert type(d["steps"]) is type(d["wide"]) is int and round(d["share"], 6) in (0.1, 0.2, 0.3, 0.4)


def test_a_setting_is_drawn_anew_with_the_given_probability():
    often = PopulationSettings(every=None, quantile=0.25, resample=0.25, factors=[1.0])
    drawn = draws(GOOD, often, 2000)
    anew = sum(d["lr"] != GOOD["lr"] for d in drawn)
    assert 430 < anew < 570, "a quarter of 2000, within 3.6 standard deviations"
    low = sum(d["lr"] < 0.1 for d in drawn)
    assert 0.4 < low / anew < 0.6, "half of a logarithmic interval"


@pytest.mark.parametrize(("algo", "word", "message"), [
    ("anil", "outer.optimizer.lr=tag(log, interval(0.001, 0.01))", None),
    ("anil", "algo.inner_optimizer.lr=interval(0.1, 1)", None),
    ("anil", "algo.inner_steps=range(1, 4)", None),
    ("anil", "outer.schedule=choice(constant, cosine)", None),
    ("anil", "way=choice(3, 5)", "way cannot change in mid-training"),
    ("anil", "seed=range(0, 3)", "seed cannot change"),
    ("anil", "model.hidden=choice([4], [8])", "model.hidden cannot change"),
    ("anil", "algo=choice(anil, maml)", "algo cannot change"),
    ("anil", "outer.optimizer.name=choice(Adam, SGD)", "outer.optimizer.name cannot change"),
    ("anil", "steps=range(10, 20)", "steps cannot change"),
    ("metasgd", "algo.inner_optimizer.lr=interval(0.1, 1)", "it is where a learned value begins"),
    ("maml norm=per_step", "algo.inner_steps=range(1, 4)", "it changes the shapes of what is learned"),
])  # fmt: skip
def test_the_settings_that_may_change_in_mid_training(algo, word, message):
    fixed = [f"algo={algo.split()[0]}", *algo.split()[1:], *(GLYPHS if "norm=" in algo else SINUSOID)]
    compose_words = lambda words: compose(*words)
    if message is None:
        check(parse([word]), fixed, compose_words)
        return
    with pytest.raises(UserError) as refused:
        check(parse([word]), fixed, compose_words)
    assert message in str(refused.value) and str(refused.value).startswith("search=pbt: ")
    assert "\n" not in str(refused.value)


def test_a_member_has_no_settings_that_depend_on_a_choice():
    space = parse(
        ["outer.schedule=choice(constant, cosine)", 'outer.warmup=tag("if outer.schedule=cosine", range(0, 5))']
    )
    with pytest.raises(UserError, match=r"outer\.warmup depends on a choice"):
        check(space, SINUSOID, lambda words: compose(*words))


def test_a_schedule_keeps_what_a_training_was_trained_with():
    one, other = {"lr": 1}, {"lr": 2}
    assert extended([], 0, one) == [(0, one)]
    assert extended([(0, one)], 5, one) == [(0, one)]
    assert extended([(0, one)], 5, other) == [(0, one), (5, other)]
    assert extended([(0, one), (5, other)], 5, one) == [(0, one)], "replaced before any meta-step"
    assert extended([(0, one), (5, other)], 9, one) == [(0, one), (5, other), (9, one)]
