"""The space of a search: every kind of word, and every word that is refused."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from metalearn.runtime.errors import UserError
from metalearn.search.parse import parse, split
from metalearn.search.samplers import SeededSampler
from metalearn.search.spelling import read, spell


def only(word):
    (parameter,) = parse([word]).hyperparameters
    return parameter


@pytest.mark.parametrize(
    ("word", "distribution"),
    [
        ("a=interval(0.01, 2)", FloatDistribution(0.01, 2.0)),
        ("a=tag(log, interval(0.01, 2))", FloatDistribution(0.01, 2.0, log=True)),
        ("a=tag(int, interval(1, 64))", IntDistribution(1, 64)),
        ("a=tag(log, int, interval(1, 64))", IntDistribution(1, 64, log=True)),
        ("a=int(interval(1, 64))", IntDistribution(1, 64)),
        ("a=range(1, 6)", IntDistribution(1, 5)),
        ("a=range(3)", IntDistribution(0, 2)),
        ("a=range(1, 10, 3)", IntDistribution(1, 7, step=3)),
        ("a=range(5, 1, -1)", IntDistribution(2, 5)),
        ("a=tag(log, range(1, 65))", IntDistribution(1, 64, log=True)),
        ("a=range(0, 1, 0.25)", FloatDistribution(0.0, 0.75, step=0.25)),
        ("a=range(0.2, 0.8, 0.2)", FloatDistribution(0.2, 0.6, step=0.2)),
        ("a=choice(x, y)", CategoricalDistribution(("x", "y"))),
        ("a=x,y", CategoricalDistribution(("x", "y"))),
        ("a=choice(1, 2.5, true, word)", None),
        ("a=choice(0.1, 0.01)", CategoricalDistribution((0.1, 0.01))),
    ],
)
@pytest.mark.filterwarnings("error")
def test_every_kind_of_word_is_a_dimension(word, distribution):
    if distribution is not None:
        assert only(word).distribution == distribution


@pytest.mark.parametrize("word", ["a=range(1, 6)", "a=range(2, 30, 7)", "a=range(0.1, 0.75, 0.05)", "a=range(9, 0, -2)",
                                  "a=range(0.5, -0.5, -0.1)"])  # fmt: skip
def test_a_range_has_the_values_of_a_plain_sweep(word):
    from metalearn.search.unit_interval import values

    plain = sorted(float(text) for text in read(word).sweep_string_iterator())
    assert values(only(word).distribution) == pytest.approx(plain)


@pytest.mark.parametrize(
    ("word", "overrides"),
    [
        ("algo=choice(maml, anil)", ["algo=maml", "algo=anil"]),
        ("algo=maml,anil", ["algo=maml", "algo=anil"]),
        ("+a.b=choice(1, 2)", ["+a.b=1", "+a.b=2"]),
        ("++a.b=choice(1, 2)", ["++a.b=1", "++a.b=2"]),
        ("model.hidden=choice([40, 40], [100])", ["model.hidden=[40,40]", "model.hidden=[100]"]),
        ("a={x:1},{x:2}", ["a={x:1}", "a={x:2}"]),
        ("a=choice('1', 1)", ["a='1'", "a=1"]),
        ("a=choice('true', true)", ["a='true'", "a=true"]),
        ("a=null,1", ["a=null", "a=1"]),
        ("a='null',null", ["a='null'", "a=null"]),
        ("a=choice('with space', 'a,b', 'it\\'s')", ["a=with space", "a='a,b'", "a='it\\'s'"]),
        ("a=choice(1e-3, 1e3)", ["a=0.001", "a=1000.0"]),
    ],
)
def test_values_come_back_as_they_were_typed(word, overrides):
    parameter = only(word)
    choices = parameter.distribution.choices
    assert [parameter.override(value) for value in choices] == overrides
    typed = read(word).sweep_iterator()  # the values that a plain sweep would give
    for one, again in zip(typed, overrides, strict=True):
        expected = read("a=1")
        expected._value = one
        assert read(again).value() == expected.value()
        assert type(read(again).value()) is type(expected.value())


@pytest.mark.parametrize("value", ["a", "a.b/c-d", "1", "1e3", "true", "null", "nan", "a b", " a", "a=b", "a,b", "choice(1)",
                                   "it's", 'say "x"', "back\\slash", "", "ünï", "$x", "#", "a:b", 1, 0.1, 1e-7, True,
                                   False, None, 10**20])  # fmt: skip
def test_a_spelled_value_is_read_as_itself(value):
    again = read(f"a={spell(value)}").value()
    assert again == value and type(again) is type(value)


def test_fixed_words_are_told_from_searched_ones():
    words = ["algo=maml", "seed=range(3)", "way=5,20", "+x='a,b'", "model.hidden=[1,2]", "~control.cycle.Save"]
    fixed, searched = split(words)
    assert searched == ["seed=range(3)", "way=5,20"]
    assert fixed == ["algo=maml", "+x='a,b'", "model.hidden=[1,2]", "~control.cycle.Save"]


SGD = ("optimizer=choice(SGD, Adam)", 'momentum=tag("if optimizer=SGD", interval(0, 0.99))')


def test_a_hyperparameter_exists_where_its_choice_does():
    space = parse(SGD[::-1])  # in any order
    assert [p.name for p in space.hyperparameters] == ["optimizer", "momentum"]
    assert space.suggest(FixedTrial({"optimizer": "SGD", "momentum": 0.5})) == ["optimizer=SGD", "momentum=0.5"]
    assert space.suggest(FixedTrial({"optimizer": "Adam"})) == ["optimizer=Adam"]
    assert space.conditional and not parse(SGD[:1]).conditional


def test_conditions_may_follow_each_other_and_be_of_any_type():
    space = parse(['c=tag("if b=true", "if a=\'1\'", range(3))', 'b=tag("if a=\'1\'", choice(true, false))',
                   "a=choice('1', x)"])  # fmt: skip
    assert [p.name for p in space.hyperparameters] == ["a", "b", "c"]
    assert space.suggest(FixedTrial({"a": "1", "b": True, "c": 2})) == ["a='1'", "b=true", "c=2"]
    assert space.suggest(FixedTrial({"a": "1", "b": False})) == ["a='1'", "b=false"]
    assert space.suggest(FixedTrial({"a": "x"})) == ["a=x"]


def test_examples_cover_every_choice_of_a_group_and_every_hyperparameter():
    space = parse(["algo=choice(anil, maml, reptile)", 'algo.steps=tag("if algo=reptile", range(2, 4))',
                   "seed=range(5)", "way=choice(5, 20)"])  # fmt: skip
    assert space.examples() == [
        ["algo=anil", "seed=0", "way=5"],
        ["algo=reptile", "seed=0", "way=5", "algo.steps=2"],
        ["algo=maml", "seed=0", "way=5"],
    ]


def test_a_space_is_described_as_text():
    assert parse(SGD).describe() == {
        "optimizer": "CategoricalDistribution(choices=('SGD', 'Adam'))",
        "momentum": "FloatDistribution(high=0.99, log=False, low=0.0, step=None) if optimizer=SGD",
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to search; give a space"),
        (["a=interval(2, 1)"], "an empty interval"),
        (["a=interval(1, 1)"], "an empty interval"),
        (["a=interval(0, inf)"], "finite ends"),
        (["a=range(3, 3)"], "an empty range"),
        (["a=range(3, 1)"], "an empty range"),
        (["a=range(1, 3, 0)"], "an empty range"),
        (["a=range(0.5, 3, 0)"], "an empty range"),
        (["a=tag(log, interval(0, 1))"], "must lie above 0"),
        (["a=tag(log, interval(-1, 1))"], "must lie above 0"),
        (["a=tag(log, range(0, 4))"], "start of at least 1"),
        (["a=tag(log, range(1, 9, 2))"], "step 1"),
        (["a=tag(log, range(0.1, 0.9, 0.1))"], "cannot be logarithmic"),
        (["a=tag(int, interval(0.5, 4))"], "must be whole"),
        (["a=tag(log, choice(1, 2))"], "a choice has no scale"),
        (["a=tag(cubic, interval(1, 2))"], "unknown tag cubic; there are log, int"),
        (["a=choice(1, 1)"], "1 and 1 count as one value"),
        (["a=choice(1, true)"], "1 and true count as one value"),
        (["a=choice(0.0, false)"], "0.0 and false count as one value"),
        (["a=choice('[1]', x)"], "without quotes"),
        (["a=glob(*)"], "give choice(), range() or interval()"),
        (["a=5"], "give choice(), range() or interval()"),
        (["~a=choice(1, 2)"], "give choice(), range() or interval()"),
        (["a=choice("], "a=choice("),
        (["a=range(3)", "+a=range(3)"], "a: is in the search space twice"),
        (['a=tag("if b=1", range(3))'], "depends on b, which is not searched"),
        (["b=range(3)", 'a=tag("if b=1", range(3))'], "which is not a choice()"),
        (["b=choice(1, 2)", 'a=tag("if b=3", range(3))'], "which is none of 1, 2"),
        (['a=tag("if b=1", choice(1, 2))', 'b=tag("if a=1", choice(1, 2))'], "in a circle"),
        (['a=tag("if b", range(3))'], "unknown tag if b"),
    ],
)  # fmt: skip
def test_a_bad_space_is_refused_in_one_line(words, message):
    with pytest.raises(UserError) as error:
        parse(words)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("sampler", "words", "message"),
    [
        ("grid", ["a=interval(0, 1)"], "search=grid: a is an interval; give range() or choice()"),
        ("grid", ["a=tag(log, interval(0.1, 1))", "b=range(3)"], "search=grid: a is an interval"),
        ("grid", list(SGD), "search=grid: momentum depends on a choice"),
        ("cmaes", ["a=choice(1, 2)"], "search=cmaes: would draw a, a choice, at random"),
        ("cmaes", ["a=choice(1, 2)", "b=interval(0, 1)"], "search=cmaes: would draw a, a choice, at random"),
        ("cmaes", list(SGD), "search=cmaes: would draw momentum, which depends on a choice, at random"),
        ("gp", list(SGD), "search=gp: would draw momentum, which depends on a choice, at random"),
        ("genetic", list(SGD), "search=genetic: would draw momentum, which depends on a choice, at random"),
        ("anneal", ["a=range(3)"], "no such sampler; there are grid, random"),
    ],
)
def test_a_sampler_refuses_a_space_that_it_cannot_take(sampler, words, message):
    with pytest.raises(UserError) as error:
        SeededSampler(sampler, parse(words), 0, {})
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("sampler", "options", "message"),
    [
        ("tpe", {"startup": 3}, "startup"),
        ("random", {"seed": 3}, "seed"),
        ("genetic", {"population_size": 1}, "population_size"),
        ("policy_gradient", {"rate": 0}, "rate must be above 0"),
        ("policy_gradient", {"batch": 1}, "at least 2"),
        ("grid", {"n": 1}, "n"),
    ],
)
def test_a_wrong_option_of_a_sampler_is_refused(sampler, options, message):
    with pytest.raises(UserError, match=rf"search\.options: .*{message}"):
        SeededSampler(sampler, parse(["a=range(3)"]), 0, options)


@pytest.mark.parametrize("sampler", ["cmaes", "policy_gradient"])
def test_a_sampler_of_one_objective_refuses_two(sampler):
    with pytest.raises(UserError, match="takes one objective; for several take tpe, genetic or random"):
        SeededSampler(sampler, parse(["a=interval(0, 1)"]), 0, {}, objectives=2)


def test_an_example_has_the_choices_that_its_choices_depend_on():
    words = ["a=choice(x, y)", 'b=tag("if a=y", choice(false, true))', 'c=tag("if b=true", range(3))']
    assert ["a=y", "b=true", "c=0"] in parse(words).examples()


FIXED = {"algo": "maml", "way": "5", "lr": "0.1", "opt": "SGD"}


@pytest.mark.parametrize(("condition", "exists"), [
    ('"if algo=maml"', True),
    ('"if algo=anil"', False),
    ('"if way=5"', True),
    ("\"if lr=0.10\"", True),
    ('"if way=5", "if opt=Adam"', False),
])  # fmt: skip
def test_a_condition_on_a_fixed_setting_is_evaluated_at_once(condition, exists):
    space = parse([f"a=tag({condition}, range(3))", "b=range(3)"], FIXED.__getitem__)
    assert [(p.name, dict(p.condition)) for p in space.hyperparameters] == [("a", {})] * exists + [("b", {})]
    assert list(space.left_out) == ["a"] * (not exists) and not space.conditional


def test_what_depends_on_a_hyperparameter_that_cannot_exist_cannot_either():
    words = [
        'c=tag("if b=2", range(3))',
        'a=tag("if opt=Adam", choice(1, 2))',
        'b=tag("if a=1", choice(1, 2))',
        "d=range(2)",
    ]
    space = parse(words, FIXED.__getitem__)
    assert [p.name for p in space.hyperparameters] == ["d"]
    assert space.left_out == {"a": "opt=Adam", "b": "a=1", "c": "b=2"}
    with pytest.raises(UserError, match=r"nothing to search \(a needs opt=Adam\); give a space"):
        parse(words[1:2], FIXED.__getitem__)
