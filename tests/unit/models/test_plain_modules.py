"""Any module of torch as a model: its head, its features, and the same gradients as a plain loop of torch."""

import json
from dataclasses import fields
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

import metalearn
from metalearn.algorithms.parameters import nth
from metalearn.config.engine import EngineSettings
from metalearn.kernels import conv_stack, patches
from metalearn.kernels.rules import blocks
from metalearn.lifecycle.launch import train
from metalearn.models.build import build_model
from metalearn.models.functional import Functional
from metalearn.models.head import WithHead, find_head
from metalearn.models.norm import NormContext
from metalearn.models.torch_layers import pure
from metalearn.runtime.errors import UserError
from tests.helpers.configs import ALGORITHMS, GLYPHS, config
from tests.helpers.tasks import algorithm, batch_for, batch_of, close, params_of

HERE = "tests.unit.models.test_plain_modules"
WORDS = [word for word in GLYPHS if not word.startswith(("model.", "steps"))] + ["steps=2", "model=module"]


class Squeezed(nn.Module):
    """A residual network with channel attention: the head `fc` is not the last nn.Linear, and comes before others."""

    def __init__(self, num_classes: int, channels: int = 1, bias: bool = True):
        super().__init__()
        self.fc = nn.Linear(6, num_classes, bias=bias)
        self.conv1 = nn.Conv2d(channels, 6, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1, groups=2, bias=False)
        self.norm2 = nn.GroupNorm(3, 6)
        self.squeeze = nn.Linear(6, 6)

    def forward(self, images):
        x = F.max_pool2d(F.leaky_relu(self.norm1(self.conv1(images)), 0.1), 2)
        y = F.gelu(self.norm2(self.conv2(x)))
        y = y * torch.sigmoid(self.squeeze(y.mean((2, 3))))[..., None, None]
        x = F.avg_pool2d(x + y, 3, 2)
        return self.fc(x.mean((2, 3)))


def body():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    )


def features(*, shape) -> nn.Module:
    """A module that maps images to features."""
    return body()


def plain():
    return nn.Sequential(*body(), nn.Linear(16, 3))


def resnet18():
    from torchvision.models import resnet18 as make

    return make(num_classes=3)


MODELS = {
    "squeezed": (Squeezed, {"num_classes": 3}, "fc"),
    "no_bias": (Squeezed, {"num_classes": 3, "bias": False}, "fc"),
    "plain": (plain, {}, None),
    "new": (lambda: WithHead(body(), 16, 3), {}, None),
    "resnet18": (resnet18, {}, None),
}


def made(kind: str, name: str, shape=(1, 12, 12), **engine):
    """An algorithm on such a module, whose head is not at zero."""
    like = algorithm(name)
    torch.manual_seed(0)
    make, given, head = MODELS[kind]
    model = make(**given)
    place = head or find_head(model).module
    nn.init.normal_(model.get_submodule(place).weight, std=0.3)
    own = {f.name: getattr(like, f.name) for f in fields(like)}
    return type(like)(**own | {"model": model, "head_layer": head, "engine": EngineSettings(**engine)}), model


def of_one_task(name, algo, net, params, sx, sy, qx, qy):
    """The meta-gradient of one task by a plain loop over the layers of torch."""
    learned = {n: p.detach().clone().requires_grad_() for n, p in params.learned.items()}
    head, net = algo.head, net.double().train()

    def run(weights, x):
        return functional_call(net, {n: w for n, w in weights.items() if n in params.model}, (x,))

    def features_of(x):
        seen = []
        hook = net.get_submodule(head.module).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        run(learned, x)
        hook.remove()
        return seen[0]

    if name == "pretrain":
        outputs = F.linear(features_of(qx), learned["classifier.weight"], learned["classifier.bias"])
        loss = F.cross_entropy(outputs, qy)
    elif name == "protonet":
        given = features_of(sx)
        prototypes = torch.stack([given[sy == c].mean(0) for c in range(3)])
        loss = F.cross_entropy(-torch.cdist(features_of(qx), prototypes).square(), qy)
    else:
        fast = dict(learned)
        size = min(algo.inner_batch, len(sx)) if name == "reptile" else len(sx)
        if name == "reptile":
            order = algo.objective.balanced_order(sy[None])[0]
            sx, sy = sx[order], sy[order]
        for step in range(algo.inner_steps):
            rows = (torch.arange(size) + step * size) % len(sx)
            names = [n for n in params.model if algo.is_adapted(n)]
            loss = F.cross_entropy(run(fast, sx[rows]), sy[rows])
            second = name not in ("fomaml", "reptile")
            grads = torch.autograd.grad(loss, [fast[n] for n in names], create_graph=second)
            for n, g in zip(names, grads, strict=True):
                rate = learned[f"rate.{n}"] if name == "metasgd" else algo.inner_optimizer["lr"]
                fast[n] = fast[n] - rate * g
        if name == "reptile":
            return {n: learned[n] - fast[n] for n in params.model}
        loss = F.cross_entropy(run(fast, qx), qy)
    found = torch.autograd.grad(loss, list(learned.values()), allow_unused=True)
    return {n: torch.zeros_like(learned[n]) if g is None else g for n, g in zip(learned, found, strict=True)}


CASES = [
    *(("squeezed", name) for name in ALGORITHMS),
    *(
        (kind, name)
        for kind in ("no_bias", "plain", "new")
        for name in ("maml", "anil", "boil", "protonet", "pretrain")
    ),
    *(pytest.param("resnet18", name, marks=pytest.mark.slow) for name in ALGORITHMS),
]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_the_meta_gradient_is_that_of_a_plain_loop(kind, name):
    shape = (3, 16, 16) if kind == "resnet18" else (1, 12, 12)
    algo, net = made(kind, name)
    assert algo.reduction == "mean" or name not in ("maml", "anil")
    params, batch = params_of(algo), batch_for(name, shape=shape, tasks=2)
    if name == "pretrain":
        batch = batch._replace(query_y=batch.query_y + 4)
    ours = algo.meta_gradient(params, batch).gradients
    each = [of_one_task(name, algo, net, params, *(field[t] for field in batch[:4])) for t in range(2)]
    mean = {n: (each[0][n] + each[1][n]) / 2 for n in each[0]}
    # The last maps of ResNet-18 have one value an image: batch norm over five of them enlarges rounding errors
    close({n: ours[n] for n in mean}, mean, rtol=1e-6, atol=1e-6 if kind == "resnet18" else 1e-8)


@pytest.mark.parametrize("name", ["maml", "anil", "reptile"])
def test_other_engines_give_the_same(name):
    batch = batch_for(name)
    one, other, third = (made("squeezed", name, **e)[0] for e in ({}, {"kernel": "vmap"}, {"inner_loop": "higher"}))
    params = params_of(one)
    for algo in (other, third):
        close(algo.meta_gradient(params, batch).gradients, one.meta_gradient(params, batch).gradients)


@pytest.mark.parametrize("name", ["maml", "anil"])
def test_without_fused_chains_gradients_are_equal_and_layers_are_called_one_by_one(name, monkeypatch):
    batch, calls = batch_for(name), []
    for place, function in ((conv_stack._Blocks, "apply"), (patches, "product"), (patches, "block"), (blocks, "run")):
        real = getattr(place, function)
        monkeypatch.setattr(place, function, partial(lambda real, *args: calls.append(real) or real(*args), real))
    fused, plain = (made("plain", name, kernel="grouped", fused=value)[0] for value in (True, False))
    params = params_of(fused)
    expected = fused.meta_gradient(params, batch).gradients
    assert calls
    calls.clear()
    close(plain.meta_gradient(params, batch).gradients, expected)
    assert not calls


@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "resnet18"])
def test_the_head_of_its_features_gives_the_outputs(kind):
    algo, _ = made(kind, "maml")
    params, batch = params_of(algo), batch_of()
    found, _ = algo.net.features(params.model, batch.support_x, NormContext())
    outputs, _ = algo.net.outputs(params.model, batch.support_x, NormContext())
    assert found.shape == (3, 6, algo.head.in_features)
    torch.testing.assert_close(algo.net.head_outputs(params.model, found), outputs)


def test_the_head_is_the_last_linear_layer_or_the_one_that_is_named():
    assert find_head(Squeezed(3)).module == "squeeze" and find_head(Squeezed(3), "fc").names == ("fc.weight", "fc.bias")
    assert find_head(nn.Linear(3, 5)).names == ("weight", "bias")
    assert find_head(Squeezed(3, bias=False), "fc").names == ("fc.weight",)
    with pytest.raises(UserError, match=r"its head squeeze is not the last operation.*name its head by model\.head="):
        metalearn.algorithm("anil", Squeezed(6), way=3, shot=1, shape=(1, 12, 12))
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    with pytest.raises(UserError, match=r"1\.weight of the head must be a parameter of this layer alone"):
        metalearn.algorithm("maml", tied, way=4, shot=1)


def test_a_linear_layer_alone_is_a_model():
    algo = metalearn.algorithm("anil", nn.Linear(4, 3), way=3, shot=2, shape=(4,))
    batch = batch_of(shape=(4,), dtype=torch.float32)
    assert algo.meta_gradient(algo.init(), batch).gradients["weight"].abs().max() > 0


def test_a_new_head_is_at_zero_behind_the_features():
    algo = metalearn.algorithm("maml", body(), head="new", way=3, shot=2, shape=(1, 12, 12))
    batch = batch_of(dtype=torch.float32)
    params = algo.init()
    gradient = algo.meta_gradient(params, batch).gradients
    assert gradient.keys() == {"body.0.weight", "body.1.weight", "body.1.bias", "head.weight", "head.bias"}
    assert all(g.isfinite().all() for g in gradient.values()) and gradient["body.0.weight"].abs().max() > 0
    assert not algo.predict(nth(algo.adapt(params, *batch[:2]), 0), batch.query_x).any()


class Shared(nn.Module):
    """Two convolutions with the same batch norm."""

    def __init__(self):
        super().__init__()
        norm = nn.BatchNorm2d(4)
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.ReLU(), nn.Conv2d(4, 4, 3), norm)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.layers(x).mean((2, 3)))


def test_a_shared_batch_norm_stays_one_and_has_no_running_statistics():
    model = pure(Shared())
    assert model.layers[1] is model.layers[4] and not isinstance(model.layers[4], nn.BatchNorm2d)
    for norm in ("transductive", "per_step"):
        algo = metalearn.algorithm("maml", Shared(), way=3, shot=2, norm=norm)
        batch = batch_of(dtype=torch.float32)
        if norm == "per_step":
            with pytest.raises(
                UserError, match=r"layers of \[4, 4\] channels are called, the model has layers of \[4\]"
            ):
                algo.meta_gradient(algo.init(), batch)
        else:
            assert algo.meta_gradient(algo.init(), batch).gradients["layers.1.weight"].abs().max() > 0


def test_constructors_are_given_what_they_take():
    node = {"_target_": f"{HERE}.Squeezed", "head": "fc"}
    assert build_model(node, (1, 12, 12), 7).fc.out_features == 7
    torchvisions = build_model({"_target_": "torchvision.models.resnet18"}, (3, 32, 32), 7)
    assert torchvisions.fc.out_features == 7
    new = build_model({"_target_": f"{HERE}.features", "head": "new"}, (1, 12, 12), 7)
    assert isinstance(new, WithHead) and new.head.weight.shape == (7, 16) and not new.head.weight.any()
    grey = pure(build_model(node | {"channels": 3, "repeat_channels": 3}, (1, 12, 12), 3))
    x, net = torch.rand(2, 1, 12, 12), Functional(grey, find_head(grey, "fc"))
    net.check((1, 12, 12))
    weights = dict(grey.named_parameters())
    torch.testing.assert_close(net.outputs(weights, x[None], NormContext())[0][0], grey(x.expand(2, 3, 12, 12)))
    with pytest.raises(UserError, match=r"layer conv1 \(Conv2d\) fails.*for grey images: \+?model\.repeat_channels=3"):
        metalearn.algorithm("maml", Squeezed(3, channels=3), head="fc", way=3, shot=1, shape=(1, 12, 12))


RUNS = {
    "named": (f"model._target_={HERE}.Squeezed", "model.head=fc"),
    "new": (f"model._target_={HERE}.features", "model.head=new"),
    "torchvision": ("model._target_=torchvision.models.resnet18", "model.repeat_channels=3"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [k if k == "named" else pytest.param(k, marks=pytest.mark.slow) for k in RUNS])
def test_a_run_records_its_head_and_is_evaluated_at_another_way(kind, tmp_path, capfd):
    train(config(*WORDS, *RUNS[kind], "algo=anil"), tmp_path / "run")
    head = {"named": "fc", "new": "head", "torchvision": "fc"}[kind]
    how = "as named" if kind != "torchvision" else "the last nn.Linear"
    width = {"named": 6, "new": 16, "torchvision": 512}[kind]
    assert f"head: {head} ({width} features to 3 outputs), {how}\n" in capfd.readouterr().out
    assert json.loads((tmp_path / "run" / "result.json").read_text())["head"] == head
    if kind != "torchvision":
        with pytest.raises(UserError, match="trust=True"):
            metalearn.load(tmp_path / "run")
    learner = metalearn.load(tmp_path / "run", trust=kind != "torchvision")
    data = metalearn.dataset("glyphs", classes=[8, 6, 6])
    for way in (2, 5):
        assert 0 <= learner.evaluate(data, tasks=3, way=way, query=2).mean <= 1
    images = torch.rand(4, 1, 28, 28)
    assert learner.features(images).shape == (4, width)
    classifier = learner.adapt(images, list("abcd"))  # four classes, three in training
    assert classifier.predict_proba(images).shape == (4, 4)


@pytest.mark.slow
def test_maml_cannot_take_more_ways_than_the_head_of_a_plain_module(tmp_path):
    train(config(*WORDS, *RUNS["named"]), tmp_path / "run")
    learner = metalearn.load(tmp_path / "run", trust=True)
    data = metalearn.dataset("glyphs", classes=[8, 6, 6])
    assert 0 <= learner.evaluate(data, tasks=3, way=2, query=2).mean <= 1
    with pytest.raises(UserError, match="has a learned head for 3; more classes need a new head"):
        learner.evaluate(data, tasks=3, way=5, query=2)


def test_prototypes_have_a_bias_where_the_head_has_none():
    algo, _ = made("no_bias", "protonet")
    params, batch = params_of(algo), batch_of()
    adapted = nth(algo.adapt(params, batch.support_x, batch.support_y), 1)
    found = [algo.net.features(params.model, x, NormContext())[0] for x in (batch.support_x, batch.query_x)]
    prototypes = found[0].view(3, 3, 2, -1).mean(2)
    distances = torch.cdist(found[1], prototypes).square()
    outputs = algo.predict(adapted, batch.query_x)
    torch.testing.assert_close(outputs.log_softmax(-1), (-distances).log_softmax(-1))


def test_a_frozen_parameter_is_refused():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 5))
    model[1].weight.requires_grad_(False)
    with pytest.raises(UserError, match=r"model=Sequential: parameter 1\.weight has requires_grad=False"):
        metalearn.algorithm("maml", model, way=5, shot=1)
