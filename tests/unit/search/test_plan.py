"""A search is checked before anything is written."""

import pytest

from metalearn.config.compose import compose
from metalearn.runtime.errors import UserError
from metalearn.search.parse import split
from metalearn.search.plan import accept
from tests.helpers.configs import every
from tests.helpers.ray_cluster import need_ray

SMALL = ("algo=anil", "data=glyphs", "data.classes=[20,8,12]", "model.filters=4", "steps=12", "eval.every=3")
RATE = "algo.inner_optimizer.lr=tag(log, interval(0.01, 2))"


def accepted(*words):
    """Check a search as typed."""
    fixed, _ = split(words)
    return accept(words, compose(*fixed), lambda words: compose(*words))


@pytest.mark.parametrize(("words", "message"), every(5, [
    (("algo.nothing=interval(0, 1)",), "algo.nothing"),
    (("algo.inner_optimizer.lr=interval(1, 1)",), "an empty interval"),
    (("algo.inner_optimizer.lr=tag(log, interval(0, 1))",), "must lie above 0"),
    (("search=grid", RATE), "is an interval"),
    (("search=cmaes", "way=choice(3, 5)"), "would draw way"),
    ((), "nothing to search"),
    ((RATE, "search.prune=median", "search.objectives=[val_accuracy,train_seconds]"), "prune=median"),
    ((RATE, "search.compete=halving", "search.objectives=[val_accuracy,train_seconds]"), "compete=halving"),
    ((RATE, "search.compete=halving", "search.prune=median"), "prune, compete"),
    ((RATE, "search.objectives=[test_accuracy]"), "never looks at the test classes"),
    ((RATE, "search.trials=0"), "trials"),
    ((RATE, "search.trails=5"), "search.trails"),
    ((RATE, "search.options.batch=5"), "search.options"),
    ((RATE, "+search.options.batch=5"), "search.options"),
    ((RATE, "+search.control.Threshold=5"), "search.control.Threshold"),
    ((RATE, "+search.control.Info.f=nothing"), "search.control.Info.f=nothing: unknown value nothing; choose from loss"),
    ((RATE, "+search.control.Warn.predicate='lost>3'"), "search.control.Warn.predicate=lost>3: unknown value lost"),
    ((RATE, "search.trials=2,3"), "one search at a time"),
    ((RATE, "search.compete=halving", "steps=3"), "leave no rung"),
    ((RATE, "search.storage=sqlite:///study.db"), "search.storage: SQLite is no database for several workers"),
    ((RATE, "search.storage=mysql://me@host/lab"), "is not the URL of a PostgreSQL database"),
    ((RATE, "search.storage=postgresql://me@host/lab"), "needs name=NAME"),
    ((RATE, "search.storage=postgresql://me@host/lab", "search.name=../up"), "needs name=NAME"),
    ((RATE, "search.storage=postgresql://me@host/lab", "search.name=s", "search.compete=halving"), "takes no storage"),
    ((RATE, "search.heartbeat=0"), "heartbeat"),
    ((RATE, 'way=tag("if algo.nothing=1", choice(3, 5))'), "algo.nothing, which is no setting of these runs"),
    ((RATE, 'way=tag("if algo.inner_optimizer=SGD", choice(3, 5))'), "is a group of settings; name one of them"),
    ((RATE, 'way=tag("if outer=adam", choice(3, 5))'), "on outer: choose one in the command, by outer="),
    ((RATE, "search.address=auto"), "address=auto: is a setting of engine=ray"),
    ((RATE, "search.storage_path=shared"), "storage_path=shared: is a setting of engine=ray"),
    ((RATE, "search.prune=asha"), "prune=asha: is Ray's and needs engine=ray"),
    ((RATE, "search.sampler=null"), "only search=pbt has none"),
    ((RATE, "search.engine=ray", "search.address=auto"), "needs storage_path=FOLDER"),
    ((RATE, "search.engine=ray", "search.address=ray://a:1", "search.storage_path=s"), "on a machine of the cluster"),
    ((RATE, "search.engine=ray", "search.address=auto", "search.storage_path=s", "search.workers=2"), "workers=2"),
    ((RATE, "search.engine=ray", "search.prune=median"), "engine=ray has prune=asha"),
    ((RATE, "search.engine=ray", "search.compete=halving"), "engine=ray has compete=hyperband"),
    ((RATE, "search.engine=ray", "search.seeds=2"), "needs seeds=1"),
    ((RATE, "search.engine=ray", "search.resources.cpu=0"), "cpu=0"),
    ((RATE, "search.engine=ray", "search.storage=postgresql://me@host/lab", "search.name=s"), "takes no database"),
], rows=True))  # fmt: skip
def test_mistakes_are_one_line(words, message):
    with pytest.raises(UserError) as refused:
        accepted("search=random", *SMALL, *words)
    assert message in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(("words", "message"), every(5, [
    ((RATE, "search.sampler=tpe"), "sampler=tpe: search=pbt draws its own start"),
    ((RATE, "search.engine=embedded"), "needs engine=ray"),
    ((RATE, "search.prune=asha"), "trains all its trials to their end"),
    ((RATE, "search.compete=hyperband"), "trains all its trials to their end"),
    ((RATE, "search.objectives=[val_accuracy,train_seconds]"), "needs objectives=[]"),
    ((RATE, "search.pbt.quantile=0.6"), "quantile=0.6"),
    ((RATE, "search.pbt.factors=[0, 2]"), "factors=[0, 2]"),
    ((RATE, "search.pbt.resample=2"), "resample=2"),
    ((RATE, "search.pbt.every=0"), "every=0"),
    ((RATE, "way=choice(3, 5)"), "way cannot change in mid-training"),
], rows=True))  # fmt: skip
def test_mistakes_in_a_population_are_one_line(words, message):
    need_ray()
    with pytest.raises(UserError) as refused:
        accepted("search=pbt", *SMALL, *words)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_a_training_on_ray_needs_a_rung():
    need_ray()
    with pytest.raises(UserError, match="leave no rung before the end"):
        accepted("search=random", *SMALL, RATE, "search.engine=ray", "search.prune=asha", "eval.every=6")


def test_ray_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install '\.\[ray\]'"):
        accepted("search=random", *SMALL, RATE, "search.engine=ray")


def test_what_is_accepted_is_described():
    plan = accepted("search=tpe", *SMALL, RATE, "search/space=inner_loop", "search.trials=7")
    assert [parameter.name for parameter in plan.space.hyperparameters] == [
        "algo.inner_steps", "outer.optimizer.lr", "algo.inner_optimizer.lr"]  # fmt: skip
    assert plan.fixed == list(SMALL) and plan.goals[0].name == "val_accuracy" and plan.goals[0].maximize
    assert plan.spec["number of trials"] == 7 and plan.spec["settings of all trials"] == sorted(SMALL)


MOMENTUM = '+algo.inner_optimizer.momentum=tag("if algo.inner_optimizer.name={}", interval(0, 0.99))'


def test_a_condition_that_a_fixed_setting_meets_leaves_none():
    found = accepted("search=gp", *SMALL, RATE, MOMENTUM.format("SGD"))  # the default; gp takes no conditions
    assert [parameter.name for parameter in found.space.hyperparameters][1] == "algo.inner_optimizer.momentum"


@pytest.mark.parametrize(("words", "left_out"), every(5, [
    ((MOMENTUM.format("Adam"), "way=5"), {"algo.inner_optimizer.momentum": "algo.inner_optimizer.name=Adam"}),
    ((MOMENTUM.format("SGD"), "algo.inner_optimizer.name=Adam"),
     {"algo.inner_optimizer.momentum": "algo.inner_optimizer.name=SGD"}),
    (('way=tag("if algo=anil", choice(3, 5))',), {}),
    (('way=tag("if algo=maml", choice(3, 5))',), {"way": "algo=maml"}),
    (('way=tag("if data.classes=[20,8,12]", choice(3, 5))',), {}),
], rows=True))  # fmt: skip
def test_a_condition_on_a_fixed_setting_is_evaluated_by_the_configuration(words, left_out):
    assert accepted("search=random", *SMALL, RATE, *words).space.left_out == left_out


def test_a_grid_has_no_more_trials_than_combinations():
    plan = accepted("search=grid", *SMALL, "algo.inner_steps=range(1, 4)", "way=choice(3, 5)", "search.trials=40")
    assert plan.settings.trials == 6
