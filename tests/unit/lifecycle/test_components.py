"""Data sets, models and algorithms from Python: mistakes are told in the words of Python."""

from pathlib import Path

import pytest
import torch

import metalearn
from metalearn.learner.spec import restored
from metalearn.lifecycle.setup import prepare
from metalearn.runtime.errors import NotFound, UserError
from metalearn.training.evaluate import evaluate
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
    "name=3: must be a text": lambda: metalearn.dataset(3),
    "shape=28: give the shape of one input, (C, H, W) or (D,)": lambda: metalearn.model("conv4", shape=28, outputs=5),
    "outputs=5: must be a whole number": lambda: metalearn.model("conv4", shape=(1, 28, 28), outputs="5"),
    "way=five: must be a whole number": lambda: metalearn.algorithm("maml", torch.nn.Linear(3, 5), way="five", shot=1),
    "head=new: Conv4 takes outputs=, the number of ways, and so has a head of its own": lambda: metalearn.model(
        "conv4", **SHAPE, head="new"
    ),
    "path=3: give the path of a file or a folder": lambda: metalearn.load(3),
    "compose(['way=5']): give each setting as text": lambda: metalearn.compose(["way=5"]),
    "compose('-m'): give settings alone": lambda: metalearn.compose("-m"),
    "config_dir=nowhere: no such folder": lambda: metalearn.compose(config_dir="nowhere"),
    "config={'algo': 'anil'}: give what metalearn.compose returns": lambda: metalearn.train({"algo": "anil"}),
    "folder=3: give the path of a file or a folder": lambda: metalearn.train(metalearn.compose(), 3),
}


@pytest.mark.parametrize("message", every(3, MISTAKES))
def test_a_mistake_in_a_call(message):
    with pytest.raises(UserError) as refused:
        MISTAKES[message]()
    said = str(refused.value)
    assert said.startswith(message) and "~" not in said and "--help" not in said


@pytest.fixture(scope="module")
def pieces():
    data = metalearn.dataset("glyphs", classes=[10, 5, 5])
    learner = algorithm()
    source = data.source("train", 0, "cpu")
    return data, source, learner, learner.init(), learner.sample(source, 0, "cpu")


SIZES = {"tasks": 2, "way": 5, "shot": 1, "query": 1, "device": "cpu"}
SLIPS = {
    "Dataset(name='glyphs', split='seed 0'": lambda d, s, a, p, b: a.sample(d, 0, "cpu"),
    "Dataset(name='glyphs', split='seed 0',": lambda d, s, a, p, b: evaluate(a, p, d, **SIZES),
    "20 shots + 1 queries a class = 21 images": lambda d, s, a, p, b: evaluate(a, p, s, **SIZES | {"shot": 20}),
    "way=11: the train split has only 10 classes: lower way=": lambda d, s, a, p, b: s.tasks(b.ids, 11, 1, 1),
    "way=11: the train split has only 10 classes": lambda d, s, a, p, b: evaluate(a, p, s, **SIZES | {"way": 11}),
    "5 shots + 30 queries a class = 35 images": lambda d, s, a, p, b: s.tasks(b.ids, 5, 5, 30),
    "tasks=0: must be at least 1": lambda d, s, a, p, b: evaluate(a, p, s, **SIZES | {"tasks": 0}),
    "Linear: give meta-parameters, such as": lambda d, s, a, p, b: evaluate(a, torch.nn.Linear(1, 1), s, **SIZES),
    "Linear: give meta-parameters": lambda d, s, a, p, b: a.meta_gradient(torch.nn.Linear(1, 1), b),
    "ImageTasks: give a batch of tasks": lambda d, s, a, p, b: a.meta_gradient(p, s),
    "device=gpu: must be auto, cpu, cuda or cuda:N": lambda d, s, a, p, b: d.source("train", 0, "gpu"),
    "seed=a: must be a whole number": lambda d, s, a, p, b: d.source("train", "a", "cpu"),
}


@pytest.mark.parametrize("message", SLIPS)
def test_a_slip_in_a_notebook(message, pieces):
    with pytest.raises(UserError) as refused:
        SLIPS[message](*pieces)
    assert str(refused.value).startswith(message) and "\n" not in str(refused.value)


def test_own_configurations_are_composed_from_python(tmp_path):
    (tmp_path / "my conf" / "algo").mkdir(parents=True)
    mine = tmp_path / "my conf" / "algo" / "mine.yaml"
    mine.write_text("_target_: mypackage.Mine\nrate: 3\n")
    assert metalearn.compose("algo=mine", config_dir=tmp_path / "my conf")["algo"]["rate"] == 3
    mine.write_text("_target_: [unclosed\n  x: 1\n")
    with pytest.raises(UserError, match=r"mine\.yaml, line 2: is not YAML \("):
        metalearn.compose("algo=mine", config_dir=tmp_path / "my conf")


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
