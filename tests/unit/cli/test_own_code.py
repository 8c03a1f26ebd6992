"""Mistakes in the user's own code: one line that names what is wrong, with the line of the code."""

import json

import pytest
import torch

import metalearn
from metalearn.errors import UserError
from metalearn.lifecycle.launch import train
from metalearn.models.checks import check_forward
from metalearn.models.mlp import MLP
from metalearn.runtime import console
from tests.helpers.configs import GLYPHS, SINUSOID, config, every
from tests.helpers.processes import refused

MODELS = """
import torch
import torch.nn.functional as F
from torch import nn

from metalearn.models.base import MetaModel


class Net(MetaModel):
    def __init__(self, *, shape, outputs):
        super().__init__()
        self.conv = nn.Conv2d(shape[0], 1, 3, padding=1)
        self.make_head(outputs)

    def make_head(self, outputs):
        self.head = nn.Linear(784, outputs)

    def features(self, x, norm):
        return F.relu(self.conv(x)).flatten(1)


class NoHead(Net):
    def make_head(self, outputs):
        pass


class WrongWidth(Net):
    def make_head(self, outputs):
        self.head = nn.Linear(100, outputs)


class Deep(Net):
    def make_head(self, outputs):
        self.head = nn.Sequential(nn.Linear(784, 10), nn.Linear(10, outputs))


class NoBias(Net):
    def make_head(self, outputs):
        self.head = nn.Linear(784, outputs, bias=False)


class Lazy(Net):
    def make_head(self, outputs):
        self.head = nn.LazyLinear(outputs)


class Image(Net):
    def features(self, x, norm):
        return self.conv(x)


class Inside(Net):
    def make_head(self, outputs):
        super().make_head(outputs)
        self.more = nn.Conv2d(3, 3, 1)

    def features(self, x, norm):
        return self.more(self.conv(x)).flatten(1)  # line 58


class Misspelled(Net):
    def features(self, x, norm):
        return self.convs(x).flatten(1)  # line 63


class TooFew(Net):
    def features(self, x):
        return x.flatten(1)


class Nothing(Net):
    def features(self, x, norm):
        self.conv(x).flatten(1)


class Raises(Net):
    def __init__(self, *, shape, outputs):
        self.width = shape[3]  # line 78


class Plain(nn.Module):
    def __init__(self, *, shape, outputs):
        super().__init__()


class Outputs(Net):
    def forward(self, x, norm):
        return super().forward(x, norm)[:, :1]


def function(*, shape, outputs) -> MetaModel:
    return Net(shape=shape, outputs=outputs).convs  # line 92


class Layers(nn.Sequential):
    def __init__(self, *, num_classes):
        super().__init__(nn.Flatten(), nn.Linear(784, 8), nn.ReLU(inplace=True), nn.Linear(8, num_classes))
"""
MISTAKES = {
    "NoHead": "model=NoHead: has no head: set self.head = nn.Linear(features, outputs); see docs/extending.md#a-model",
    "WrongWidth": "model=WrongWidth: head takes 100 features, the body gives 784: self.head = nn.Linear(784, outputs)",
    "Deep": "model=Deep: head is of the class Sequential; it must be nn.Linear(features, outputs), with a bias",
    "NoBias": "model=NoBias: head has no bias; it must be nn.Linear",
    "Lazy": "model=Lazy: head.weight has no shape yet: give all widths, as nn.Linear does",
    "Image": "model=Image: features gives the shape [2, 1, 28, 28]; it must give one row of numbers an input",
    "Inside": "model=Inside: layer more (Conv2d) fails on inputs of 1x28x28: RuntimeError: ",
    "Misspelled": "model=Misspelled: Misspelled fails on inputs of 1x28x28: AttributeError: 'Misspelled' object has no "
    "attribute 'convs'",
    "TooFew": "TooFew.features() takes 2 positional arguments but 3 were given",
    "Nothing": "model=Nothing: features gives a NoneType; it must give one row",
    "Raises": "model._target_: IndexError: tuple index out of range (own.py:78)",
    "Plain": "model=Plain: Plain fails on inputs of 1x28x28: NotImplementedError: ",
    "Outputs": "model=Outputs: forward gives the shape [2, 1] for 2 inputs; it must give the 3 outputs of the head",
    "function": "model._target_: AttributeError: 'Net' object has no attribute 'convs' (own.py:92)",
}
WITHOUT = ("~model.filters", "~model.downsampling", "~model.pooling")
WORDS = [word for word in GLYPHS if not word.startswith("model.")]


@pytest.mark.parametrize("name", every(3, MISTAKES))
def test_a_mistake_in_a_model(name, typed, tmp_path):
    (tmp_path / "own.py").write_text(MODELS)
    done = typed(*WORDS, *WITHOUT, f"model._target_=own.{name}", "test=false")
    refused(done, MISTAKES[name])
    if name in ("Inside", "Misspelled"):
        assert {"Inside": "(own.py:58)", "Misspelled": "(own.py:63)"}[name] in done.stderr
    assert not list((tmp_path / "runs").iterdir())  # no empty folder is left


def test_a_model_that_is_right_and_the_name_of_its_run(typed, tmp_path):
    (tmp_path / "own.py").write_text(MODELS)
    done = typed(*WORDS, *WITHOUT, "model._target_=own.Net", "algo._target_=metalearn.algorithms.anil.ANIL",
                 "~algo.adapt_norm", "test=false", "seed=4")  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.partition("_")[2].partition("_")[2] == "anil_glyphs_net_seed4"
    assert "ANIL with Net on glyphs" in (run / "log.txt").read_text()


def test_a_plain_module_of_torch_is_trained_resumed_and_loaded(typed, tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(MODELS)
    words = (*WORDS, *WITHOUT, "model._target_=own.Layers", "hydra.run.dir=out")
    done = typed(*words)
    assert done.returncode == 0 and "MAML with Layers on glyphs" in done.stdout, done.stderr
    again = typed("resume=out", "trust=true")
    assert again.returncode == 0 and "this run is complete" in again.stdout, again.stderr
    monkeypatch.syspath_prepend(tmp_path)
    learner = metalearn.load(tmp_path / "out", trust=True)
    images, labels = torch.rand(4, 28, 28), ["a", "a", "b", "b"]  # fewer ways than in training
    assert set(learner.adapt(images, labels).predict(images)) <= {"a", "b"}
    assert learner.features(images).shape == (4, 8)


def test_the_usual_name_of_a_run(typed, tmp_path):
    assert typed(*GLYPHS, "test=false").returncode == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.endswith("_maml_glyphs_seed0")


def test_a_mistake_found_late_leaves_no_folder(typed, tmp_path):
    (tmp_path / "own.py").write_text(
        "from metalearn.algorithms.maml import MAML\nfrom metalearn.errors import UserError\n\n\nclass Late(MAML):\n"
        "    def task_gradients(self, params, batch):\n        raise UserError('late')\n"
    )
    refused(typed(*GLYPHS, "algo._target_=own.Late"), "late")
    assert not list((tmp_path / "runs").iterdir())
    assert typed(*GLYPHS, "algo._target_=own.Late", "hydra.run.dir=named").returncode == 2
    assert (tmp_path / "named" / "config.json").exists()  # the user chose it


@pytest.mark.slow
@pytest.mark.parametrize(("source", "message"), [
    ("class Own(:\n", "own.Own: cannot be imported (SyntaxError: "),
    ("import nothing_like_this\n", "own.Own: cannot be imported (ModuleNotFoundError: No module named 'nothing_like_this' (own.py:1)"),
    ("x = 1 / 0\n", "own.Own: cannot be imported (ZeroDivisionError: division by zero (own.py:1)"),
    ("x = 1\n", "own.Own: cannot be imported (module 'own' has no attribute 'Own')")])  # fmt: skip
def test_a_module_that_cannot_be_imported(source, message, typed, tmp_path):
    (tmp_path / "own.py").write_text(source)
    refused(typed(*GLYPHS, "algo._target_=own.Own"), message)


def test_an_error_in_training_ends_with_its_line(typed, tmp_path):
    (tmp_path / "own.py").write_text(
        "from metalearn.algorithms.maml import MAML\n\n\nclass Late(MAML):\n"
        "    def is_adapted(self, name):\n        return name in self.nothing\n"
    )
    done = typed(*GLYPHS, "algo._target_=own.Late")
    assert done.returncode == 1 and "hydra" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "metalearn: AttributeError: 'Late' object has no attribute 'nothing' (own.py:6)"
    )


def test_all_missing_settings_are_named_at_once(typed, tmp_path):
    (tmp_path / "own.py").write_text("from metalearn.algorithms.maml import MAML\n\n\nclass Mine(MAML):\n    pass\n")
    (tmp_path / "conf" / "algo").mkdir(parents=True)
    (tmp_path / "conf" / "algo" / "mine.yaml").write_text("_target_: own.Mine\ninner_steps: 2\n")
    done = typed(*GLYPHS[:-1], "algo=mine", "steps=2", "--config-dir", "conf")
    refused(done, "algo.meta_batch, algo.inner_steps_test: values are needed for Mine")


def test_a_model_in_python_is_checked_too():
    model = MLP(shape=(3,), outputs=2, hidden=[8])
    model.head = torch.nn.Linear(4, 2)
    with pytest.raises(UserError, match="head takes 4 features, the body gives 8"):
        check_forward(model, (3,))
    with pytest.raises(UserError, match=r"must be a metalearn\.models\.base\.MetaModel.*docs/extending\.md#a-model"):
        metalearn.algorithm("maml", torch.nn.Linear(3, 5), way=5, shot=1)


def test_the_check_draws_no_random_numbers():
    model = metalearn.model("mlp", shape=(3,), outputs=1, hidden=[4])
    state = torch.get_rng_state()
    check_forward(model, (3,), targets=1)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(UserError, match="head has 1 outputs, and targets have 2"):
        check_forward(model, (3,), targets=2)


def test_the_log_of_a_run_keeps_its_warnings(tmp_path):
    train(config(*SINUSOID), tmp_path / "run")
    with console.copied(tmp_path / "run" / "log.txt"):
        console.warn("of mine")
    console.warn("outside")
    lines = (tmp_path / "run" / "log.txt").read_text().splitlines()
    assert any("MAML with MLP on sinusoid" in line for line in lines)
    assert lines[-1].endswith("WARNING: of mine") and json.loads((tmp_path / "run" / "result.json").read_text())
