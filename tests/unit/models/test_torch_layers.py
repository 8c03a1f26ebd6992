"""torch's own layers in a model of the user's: batch norm, dropout, buffers, and what cannot run over many tasks."""

import json
from dataclasses import fields
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metalearn.algorithms.parameters import nth
from metalearn.config.engine import EngineSettings
from metalearn.models.norm import BatchNorm
from metalearn.runtime.errors import UserError
from metalearn.training.executor import Executor
from tests.helpers.configs import QUICK, of_each_kind
from tests.helpers.tasks import ENGINE, algorithm, batch_of, params_of

HERE = "tests.unit.models.test_torch_layers"


class Plain(nn.Module):
    """Two convolutions with a layer of torch's own between them."""

    def __init__(self, *, shape: tuple[int, ...], outputs: int, layer: str, drop: float = 0.0, wide: int = 4):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(shape[0], wide, 3, 2, 1, bias=False),
            LAYERS[layer](wide),
            nn.ReLU(),
            nn.Dropout(drop) if drop else nn.Identity(),
            nn.Conv2d(wide, wide, 3, 2, 1),
        )
        self.head = nn.Linear(wide, outputs)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


class Randomly(nn.Module):
    """Draws from torch's generator."""

    def __init__(self, channels):
        super().__init__()

    def forward(self, x):
        return F.dropout(x, 0.5, training=True)


class Branching(Randomly):
    """Looks at values."""

    def forward(self, x):
        return x if x.sum() > 0 else -x


class Number(Randomly):
    """Takes a number out of a tensor."""

    def forward(self, x):
        return x * x.mean().item()


class Counting(nn.Module):
    """Counts its calls in a buffer."""

    def __init__(self, channels):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return x


class Remembering(Counting):
    """Keeps a value of the batch in a buffer."""

    def forward(self, x):
        self.calls.add_(x.mean())
        return x


class Scaling(nn.Module):
    """Has a constant."""

    def __init__(self, channels):
        super().__init__()
        self.register_buffer("scale", torch.linspace(1, 2, channels).view(-1, 1, 1))

    def forward(self, x):
        return x * self.scale


class Telling(Randomly):
    """Notes whether it is training."""

    told: ClassVar[list] = []

    def forward(self, x):
        self.told.append(self.training)
        return x


class OtherNorm(nn.BatchNorm2d):
    """A norm of somebody's own with running statistics."""


LAYERS = {
    "ours": BatchNorm, "running": nn.BatchNorm2d, "batch": lambda n: nn.BatchNorm2d(n, track_running_stats=False),
    "flat": lambda n: nn.BatchNorm2d(n, affine=False), "none": lambda n: nn.Identity(), "random": Randomly,
    "branch": Branching, "number": Number, "count": Counting, "remember": Remembering, "scale": Scaling, "tell": Telling,
    "instance": lambda n: nn.InstanceNorm2d(n, track_running_stats=True), "other": OtherNorm,
    "alpha": lambda n: nn.AlphaDropout(0.5), "channels": lambda n: nn.Dropout2d(0.5),
}  # fmt: skip


def made(layer, name="maml", drop=0.0, **settings):
    """An algorithm on such a model."""
    plain = algorithm(name)
    torch.manual_seed(0)
    model = Plain(shape=(1, 12, 12), outputs=3, layer=layer, drop=drop)
    own = {key: settings.pop(key) for key in ENGINE if key in settings}
    given = {f.name: getattr(plain, f.name) for f in fields(plain) if f.name != "model"} | settings
    given["engine"] = EngineSettings(**own)
    return type(plain)(model=model, **given)


def gradient(algo, batch=None):
    """Its meta-gradient, flat."""
    torch.manual_seed(1)  # pretrain draws its classifier
    return torch.cat(
        [g.flatten() for g in Executor(algo, "cpu")(params_of(algo), batch or batch_of()).gradients.values()]
    )


@pytest.mark.parametrize("norm", ["transductive", "support", "per_step"])
@pytest.mark.parametrize("layer", ["running", "batch"])
@pytest.mark.parametrize("name", of_each_kind())
def test_the_batch_norm_of_torch_obeys_norm(name, layer, norm):
    theirs, ours = (made(each, name, norm=norm) for each in (layer, "ours"))
    assert theirs.passes.mode == norm and theirs.init().shapes() == ours.init().shapes()
    assert torch.equal(gradient(theirs), gradient(ours))
    batch, found = batch_of(), []
    for algo in (theirs, ours):
        adapted = nth(algo.adapt(params_of(algo), batch.support_x, batch.support_y), 2)
        found.append([algo.predict(adapted, x) for x in (batch.query_x, batch.query_x[:, :1])])
    assert torch.equal(found[0][0], found[1][0])
    if norm != "transductive":  # an image is classified alone
        torch.testing.assert_close(found[0][1], found[0][0][:, :1])


class Twice(Plain):
    """Uses its batch norm twice."""

    def forward(self, x):
        return self.head((self.body(x) + self.body[1](self.body[0](x)).mean((2, 3), keepdim=True)).mean((2, 3)))


def test_batch_norm_used_twice_has_no_running_statistics_of_its_own():
    plain = made("batch")
    torch.manual_seed(0)
    model = Twice(shape=(1, 12, 12), outputs=3, layer="batch")
    given = {f.name: getattr(plain, f.name) for f in fields(plain)} | {"model": model}
    assert gradient(type(plain)(**given)).isfinite().all()
    with pytest.raises(UserError, match=r"layers of \[4, 4\] channels are called, the model has layers of \[4\]"):
        gradient(type(plain)(**given | {"norm": "per_step"}))


def test_batch_norm_without_parameters():
    torch.testing.assert_close(gradient(made("flat")).isfinite().all(), torch.tensor(True))
    assert made("flat").passes.mode == "transductive"


def test_batch_norm_of_torch_is_recorded(typed, tmp_path):
    done = typed(
        *QUICK[:2],
        *QUICK[3:],
        f"model._target_={HERE}.Plain",
        "~model.filters",
        "~model.downsampling",
        "~model.pooling",
        "+model.layer=running",
        "+model.drop=0.5",
        "norm=support",
        "hydra.run.dir=out",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "result.json").read_text())["norm_mode"] == "support"


def test_layers_are_told_training_from_evaluation():
    algo, batch = made("tell"), batch_of()
    algo.net.check((1, 12, 12))
    Telling.told.clear()
    algo.meta_gradient(params_of(algo), batch)
    assert Telling.told and all(Telling.told)
    Telling.told.clear()
    algo.predict(nth(algo.adapt(params_of(algo), batch.support_x, batch.support_y), 1), batch.query_x)
    assert Telling.told and not any(Telling.told)


def test_constant_buffers_and_shared_parameters_work():
    assert gradient(made("scale")).isfinite().all()
    algo = made("none")
    assert "body.0.weight" in algo.init().model
    model = algo.model
    model.twin = model.body[0]  # the same layer under two names
    same = type(algo)(**{f.name: getattr(algo, f.name) for f in fields(algo)})
    torch.testing.assert_close(gradient(same), gradient(algo))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("random", r"layer body\.1 \(Randomly\) draws random numbers.*use the module nn\.Dropout"),
        ("branch", r"layer body\.1 \(Branching\) branches on the values of a tensor"),
        ("number", r"layer body\.1 \(Number\) takes a Python number out of a tensor"),
        ("count", r"layer body\.1 \(Counting\) changes its buffer calls in the forward pass"),
        ("remember", r"layer body\.1 \(Remembering\) changes its buffer calls in the forward pass"),
        ("instance", r"layer body\.1 \(InstanceNorm2d\) keeps running statistics"),
        ("other", r"layer body\.1 \(OtherNorm\) keeps running statistics"),
        ("alpha", r"layer body\.1 \(AlphaDropout\) draws random numbers"),
    ],
)
def test_what_cannot_run_over_many_tasks_is_one_line_that_names_the_layer(layer, message):
    with pytest.raises(UserError, match=message) as caught:
        gradient(made(layer))
    assert "\n" not in str(caught.value)
