"""Data sets, models and algorithms from Python: mistakes are told in the words of Python."""

from pathlib import Path

import pytest

import metalearn
from metalearn.learner.spec import restored
from metalearn.lifecycle.setup import prepare
from metalearn.runtime.errors import NotFound, UserError
from tests.helpers.configs import GLYPHS, config, every

SHAPE = {"shape": (1, 28, 28), "outputs": 5}


def algorithm(**settings):
    return metalearn.algorithm("maml", metalearn.model("conv4", **SHAPE, filters=2), way=5, shot=1, **settings)


MISTAKES = {
    "inner_step=: algorithm maml has no such setting (did you mean inner_steps=?); it has meta_batch": lambda: (
        algorithm(inner_step=3)
    ),
    "querry=: algorithm maml has no such setting (did you mean query=?)": lambda: algorithm(querry=3),
    "inner_optimizer: lrr: SGD has no such setting (did you mean lr?); it has lr, momentum": lambda: algorithm(
        inner_optimizer={"name": "SGD", "lrr": 1}
    ),
    'inner_optimizer=Adam: must be a group of settings: inner_optimizer={"name": "Adam"}': lambda: algorithm(
        inner_optimizer="Adam"
    ),
    "inner_steps=a: must be a whole number": lambda: algorithm(inner_steps="a"),
    "filter=: model conv4 has no such setting (did you mean filters=?); it has filters, downsampling, pooling": lambda: (
        metalearn.model("conv4", **SHAPE, filter=4)
    ),
    "filters=0: must be at least 1": lambda: metalearn.model("conv4", **SHAPE, filters=0),
    "classs=: data set glyphs has no such setting (did you mean classes=?)": lambda: metalearn.dataset(
        "glyphs", classs=[4, 4, 4]
    ),
    "root: a value is needed": lambda: metalearn.dataset("folder"),
    "root=nowhere: no such folder": lambda: metalearn.dataset("folder", root="nowhere"),
    "data=glyps: no such choice (did you mean glyphs?)": lambda: metalearn.dataset("glyps"),
}


@pytest.mark.parametrize("message", every(3, MISTAKES))
def test_a_mistake_in_a_call(message):
    with pytest.raises(UserError) as refused:
        MISTAKES[message]()
    said = str(refused.value)
    assert said.startswith(message) and "~" not in said and "--help" not in said


def test_a_class_of_error_is_kept():
    with pytest.raises(NotFound):
        metalearn.dataset("folder", root="nowhere")


@pytest.mark.parametrize(("word", "message"), [
    ("+algo.inner_step=3", "algo.inner_step: MAML has no such setting (did you mean algo.inner_steps?); it has "),
    ("+outer.wamup=3", "outer.wamup: OuterOptimizer has no such setting (did you mean outer.warmup?); it has "),
    ("+data.class=3", "data.class: glyphs.load has no such setting (did you mean data.classes?); it has "),
    ("+model.filter=3", "model.filter: Conv4 has no such setting (did you mean model.filters?); it has "),
    ("+algo.epochs=3", "algo.epochs: MAML has no such setting (here it is steps, the meta-steps); it has "),
])  # fmt: skip
def test_the_command_line_suggests_what_was_meant(word, message):
    with pytest.raises(UserError) as refused:
        prepare(config(*GLYPHS, word))
    assert str(refused.value).startswith(message) and "leave one out by ~" in str(refused.value)


def test_an_unknown_setting_in_a_checkpoint_is_one_line():
    setup = prepare(config(*GLYPHS))
    spec = {**setup.phase.spec, "algo": {**setup.phase.spec["algo"], "inner_step": 3}}
    content = {"spec": spec, "params": {**setup.phase.algorithm.init()._asdict(), "statistics": {}}}
    with pytest.raises(UserError, match=r"^learner\.pt: algo\.inner_step: MAML has no such setting"):
        restored(content, Path("learner.pt"))
