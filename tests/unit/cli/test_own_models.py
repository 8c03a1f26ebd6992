"""The user's own models: right ones are trained, and a mistake is one line that names it."""

import pytest
import torch

import metalearn
from metalearn.runtime.errors import UserError
from tests.helpers.configs import GLYPHS, every
from tests.helpers.processes import refused
from tests.helpers.tasks import batch_of

MODELS = """
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self, *, shape, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(shape[0], 1, 3, padding=1)
        self.make_head(num_classes)

    def make_head(self, ways):
        self.head = nn.Linear(784, ways)

    def forward(self, x):
        return self.head(F.relu(self.conv(x)).flatten(1))


class NoHead(Net):
    def make_head(self, ways):
        pass


class WrongWidth(Net):
    def make_head(self, ways):
        self.head = nn.Linear(100, ways)


class Convolved(Net):
    def make_head(self, ways):
        self.head = nn.Conv2d(784, ways, 1)

    def forward(self, x):
        return self.head(F.relu(self.conv(x)).flatten(1)[..., None, None]).flatten(1)


class Lazy(Net):
    def make_head(self, ways):
        self.head = nn.LazyLinear(ways)


class Fixed(Net):
    def make_head(self, ways):
        self.head = nn.Linear(784, 10)


class Image(Net):
    def forward(self, x):
        return self.conv(x)


class Softmax(Net):
    def forward(self, x):
        return super().forward(x).softmax(1)


class Hidden(Net):
    def make_head(self, ways):
        self.score = nn.Linear(784, ways)
        self.other = nn.Linear(784, ways)

    def forward(self, x):
        x = self.conv(x).flatten(1)
        return self.score(x) * self.other(x).sigmoid()


class Inside(Net):
    def make_head(self, ways):
        super().make_head(ways)
        self.more = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.head(self.more(self.conv(x)).flatten(1))  # line 74


class Misspelled(Net):
    def forward(self, x):
        return self.head(self.convs(x).flatten(1))  # line 79


class Nothing(Net):
    def forward(self, x):
        self.conv(x).flatten(1)


class Raises(Net):
    def __init__(self, *, shape, outputs):
        self.width = shape[3]  # line 89


class Counting(Net):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


class Running(Net):
    def make_head(self, ways):
        super().make_head(ways)
        self.register_buffer("mean", torch.zeros(784))

    def forward(self, x):
        x = self.conv(x).flatten(1)
        self.mean.lerp_(x.mean(0), 0.1)
        return self.head(x - self.mean)


class Noise(nn.Module):
    def forward(self, x):
        return x + 0.1 * torch.randn(x.shape)


class Drawing(Net):
    def make_head(self, ways):
        super().make_head(ways)
        self.noise = Noise()

    def forward(self, x):
        return super().forward(self.noise(x))


class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        if not self.training:
            self.seen += [0]
        return x


class Remembering(Drawing):
    def make_head(self, ways):
        super().make_head(ways)
        self.noise = nn.Sequential(nn.Identity(), Steps())


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.own = torch.Generator()

    def forward(self, x):
        return x * torch.rand((), generator=self.own)


class OwnGenerator(Drawing):
    def make_head(self, ways):
        super().make_head(ways)
        self.noise = Generator()


class Recurrent(Net):
    def make_head(self, ways):
        super().make_head(ways)
        self.gru = nn.GRU(28, 28, batch_first=True)

    def forward(self, x):
        return super().forward(self.gru(x[:, 0])[0][:, None])


class Decaying(Net):
    def forward(self, x):
        with torch.no_grad():
            self.head.weight.mul_(0.9)
        return super().forward(x)


class Pair(Net):
    def forward(self, x):
        return super().forward(x), x


class OneOutput(Net):
    def forward(self, x):
        return super().forward(x)[:, :1]


class Three(Net):
    def forward(self, x):
        return super().forward(x.view(3, 1, 28, 28))


class Grid(Net):
    def make_head(self, ways):
        super().make_head(ways)
        self.grid, self.ramps = None, {}

    def forward(self, x):
        if self.grid is None:
            self.grid = torch.linspace(0, 1, 28)
        if 28 not in self.ramps:
            self.ramps[28] = torch.linspace(1, 0, 28)
        return super().forward(x + self.grid * self.ramps[28])


class Branching(Net):
    def forward(self, x):
        return super().forward(x if x.mean() > 0.5 else -x)


class Features(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        return self.conv(x)


class NoModule:
    def __init__(self, *, shape, num_classes):
        pass


def function(*, shape, outputs) -> nn.Module:
    return Net(shape=shape, num_classes=outputs).convs  # line 221


def unannotated(*, shape, outputs):
    return Net(shape=shape, num_classes=outputs)


class Layers(nn.Sequential):
    def __init__(self, *, num_classes):
        super().__init__(nn.Flatten(), nn.Linear(784, 8), nn.ReLU(inplace=True), nn.Linear(8, num_classes))
"""
LAST = "its head {} is not the last operation: the outputs must be {} of one row of features an input; name its head by model.head="
MISTAKES = {
    "NoHead": "model=NoHead: has no nn.Linear, which would be its head; model.head=new puts one on its features; see "
    "docs/extending.md#a-model",
    "WrongWidth": "model=WrongWidth: head head takes 100 features, and is given 784: nn.Linear(784, ...)",
    "Convolved": "model=Convolved: has no nn.Linear, which would be its head",
    "Lazy": "model=Lazy: head.weight has no shape yet: give all widths, as nn.Linear does",
    "Fixed": "model=Fixed: its head head has 10 outputs, and 3 are needed: let its constructor take outputs or num_classes",
    "Image": "model=Image: gives the shape [3, 1, 28, 28] for 3 inputs; it must give the 3 outputs of its head head for each",
    "Softmax": "model=Softmax: " + LAST.format("head", "head"),
    "Hidden": "model=Hidden: " + LAST.format("other", "other"),
    "Inside": "model=Inside: layer more (Conv2d) fails on inputs of 1x28x28: RuntimeError: ",
    "Misspelled": "model=Misspelled: Misspelled fails on inputs of 1x28x28: AttributeError: 'Misspelled' object has no "
    "attribute 'convs'",
    "Nothing": "model=Nothing: gives a NoneType for 3 inputs; it must give the 3 outputs",
    "Raises": "model._target_: IndexError: tuple index out of range (own.py:89)",
    "Counting": "model: Counting changes its attribute calls in the forward pass; a model here has no state but its parameters",
    "Running": "model: Running changes its buffer mean in the forward pass",
    "Drawing": "model: layer noise (Noise) draws random numbers, which could not be drawn again: use the module nn.Dropout",
    "Remembering": "model: layer noise.1 (Steps) changes its attribute seen in the forward pass",
    "OwnGenerator": "model: layer noise (Generator) gives other values when it is called again with the same inputs: leave "
    "out what it draws or keeps",
    "Decaying": "model: layer head (Linear) changes its parameter weight in the forward pass",
    "Recurrent": "model: layer gru (GRU) cannot run over many tasks at once: RuntimeError: Batching rule not implemented",
    "Pair": "model=Pair: gives a tuple for 3 inputs; it must give the 3 outputs of its head head for each",
    "OneOutput": "model=OneOutput: gives the shape [3, 1] for 3 inputs; it must give the 3 outputs of its head head",
    "Three": "model=Three: Three fails on inputs of 1x28x28: RuntimeError: shape '[3, 1, 28, 28]' is invalid for input",
    "Branching": "model: Branching branches on the values of a tensor, which differ between tasks: use torch.where",
    "Features model.head=new": "model=Features: gives the shape [3, 1, 28, 28] for 3 inputs; for model.head=new it must give "
    "one row of numbers an input, as x.flatten(1) does",
    "Net model.head=fc": "model.head=fc: Net has no such layer; its linear layers are head",
    "Net model.head=conv": "model.head=conv: is of the class Conv2d; a head must be nn.Linear",
    "Net +model.num_classes=7": "model.num_classes: is known from the data and the number of ways; leave it out",
    "NoModule": "model._target_=own.NoModule: does not make a torch.nn.Module; see docs/extending.md#a-model",
    "function": "model._target_: AttributeError: 'Net' object has no attribute 'convs' (own.py:221)",
    "unannotated": "does not make a torch.nn.Module; annotate what the function returns: -> torch.nn.Module; see",
}
WORDS = [word for word in GLYPHS if not word.startswith("model.")]


@pytest.mark.parametrize("name", every(6, MISTAKES))
def test_a_mistake_in_a_model(name, typed, tmp_path):
    (tmp_path / "own.py").write_text(MODELS)
    target, *words = name.split()
    done = typed(*WORDS, "model=module", f"model._target_=own.{target}", *words, "test=false")
    refused(done, MISTAKES[name])
    if name in ("Inside", "Misspelled"):
        assert {"Inside": "(own.py:74)", "Misspelled": "(own.py:79)"}[name] in done.stderr
    assert not (tmp_path / "runs").exists()  # no empty folder is left


def test_a_table_that_the_first_pass_fills_is_no_state(typed, tmp_path):
    (tmp_path / "own.py").write_text(MODELS)
    done = typed(*WORDS, "model=module", "model._target_=own.Grid", "test=false")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_model_that_is_right_and_the_name_of_its_run(typed, tmp_path):
    (tmp_path / "own.py").write_text(MODELS)
    done = typed(*WORDS, "model=module", "model._target_=own.Net", "algo._target_=metalearn.algorithms.anil.ANIL",
                 "~algo.adapt_norm", "test=false", "seed=4")  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.partition("_")[2].partition("_")[2] == "anil_glyphs_net_seed4"
    assert "ANIL with Net on glyphs" in (run / "log.txt").read_text()


def test_a_plain_module_of_torch_is_trained_resumed_and_loaded(typed, tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(MODELS)
    words = (*WORDS, "model=module", "model._target_=own.Layers", "hydra.run.dir=out")
    done = typed(*words)
    assert done.returncode == 0 and "MAML with Layers on glyphs" in done.stdout, done.stderr
    again = typed("resume=out", "trust=true")
    assert again.returncode == 0 and "this run is complete" in again.stdout, again.stderr
    monkeypatch.syspath_prepend(tmp_path)
    learner = metalearn.load(tmp_path / "out", trust=True)
    images, labels = torch.rand(4, 28, 28), ["a", "a", "b", "b"]  # fewer ways than in training
    assert set(learner.adapt(images, labels).predict(images)) <= {"a", "b"}
    assert learner.features(images).shape == (4, 8)


def test_a_model_in_python_is_checked_too():
    body = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU())
    wide = torch.nn.Sequential(body, torch.nn.Linear(4, 2))
    message = "model=Sequential: head 1 takes 4 features, and is given 8"
    with pytest.raises(UserError, match=message):
        metalearn.algorithm("maml", wide, way=2, shot=1, shape=(3,))
    algorithm = metalearn.algorithm("maml", wide, way=2, shot=1)
    with pytest.raises(UserError, match=message):  # at its first use
        algorithm.meta_gradient(algorithm.init(), batch_of(way=2, shape=(3,), dtype=torch.float32))
    with pytest.raises(UserError, match='head="new": needs shape='):
        metalearn.algorithm("maml", body, head="new", way=2, shot=1)
    with pytest.raises(UserError, match=r"model=3: must be a torch\.nn\.Module; see docs/extending\.md#a-model"):
        metalearn.algorithm("maml", 3, way=5, shot=1)


def test_the_check_draws_no_random_numbers():
    model = metalearn.model("mlp", shape=(3,), outputs=1, hidden=[4])
    state = torch.get_rng_state()
    metalearn.algorithm("maml", model, way=1, shot=1, regression=True, shape=(3,))
    assert torch.equal(torch.get_rng_state(), state)
