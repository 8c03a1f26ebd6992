"""The shipped networks: their layers, sizes and settings, and the same gradients as a plain loop of torch."""

from dataclasses import fields

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import metalearn
from metalearn.algorithms.parameters import nth
from metalearn.config.compose import compose
from metalearn.config.engine import EngineSettings
from metalearn.models.build import build_model
from metalearn.models.dropblock import DropBlock
from metalearn.models.masks import Masks
from metalearn.models.norm import NormContext, using_context
from metalearn.runtime.errors import UserError
from tests.helpers.configs import every
from tests.helpers.tasks import ENGINE, algorithm, batch_of, close, params_of
from tests.unit.models.test_plain_modules import of_one_task
from tests.unit.models.test_torch_layers import gradient

SMALL = {
    "conv4": {"filters": 4},
    "resnet12": {"width": [4, 5, 6, 7]},
    "backbone": {"depth": 2, "width": 4, "groups": 2},
}


def node_of(choice, **settings):
    return compose(f"model={choice}")["model"] | SMALL.get(choice, {}) | settings


def made(choice, name="maml", shape=(1, 16, 16), settings=None, **given):
    """An algorithm on a shipped network, whose head is not at zero."""
    like = algorithm(name)
    torch.manual_seed(0)
    model = build_model(node_of(choice, **(settings or {})), shape, 3)
    nn.init.normal_(model.head.weight, std=0.3)
    engine = EngineSettings(**{key: given.pop(key) for key in ENGINE if key in given})
    own = {f.name: getattr(like, f.name) for f in fields(like)}
    return type(like)(**own | {"model": model, "engine": engine} | given), model


CASES = [
    ("conv4", {}), ("conv4", {"downsampling": "max_pool", "pooling": "mean"}),
    ("resnet12", {}), ("resnet12", {"pooling": "flatten"}),
    ("backbone", {}), ("backbone", {"downsampling": "stride", "residual": True, "activation": "leaky_relu"}),
    ("backbone", {"downsampling": "average", "normalization": "group", "activation": "elu", "kernel": 5}),
    ("backbone", {"normalization": "layer", "activation": "selu", "initialization": "lecun", "width": [3, 5]}),
    ("backbone", {"normalization": "none", "activation": "gelu", "initialization": "glorot", "residual": True}),
    ("backbone", {"downsampling": "none", "depth": 3, "residual": True, "pooling": "mean"}),
]  # fmt: skip


@pytest.mark.parametrize("case", every(2, range(len(CASES))))
def test_the_meta_gradient_is_that_of_a_plain_loop(case):
    choice, settings = CASES[case]
    algo, net = made(choice, settings=settings)
    params, batch = params_of(algo), batch_of(shape=(1, 16, 16), tasks=2)
    ours = algo.meta_gradient(params, batch).gradients
    each = [of_one_task("maml", algo, net, params, *(field[t] for field in batch[:4])) for t in range(2)]
    close(ours, {n: (each[0][n] + each[1][n]) / 2 for n in ours}, rtol=1e-6, atol=1e-8)


def test_the_first_blocks_of_backbone_are_those_of_conv4():
    settings = {"depth": 4, "downsampling": "stride", "pooling": "flatten"}
    theirs, ours = (made(choice, settings=s)[1] for choice, s in (("conv4", {}), ("backbone", settings)))
    weights = {name: dict(net.named_parameters()) for name, net in (("conv4", theirs), ("backbone", ours))}
    assert sorted(w.shape for w in weights["conv4"].values()) == sorted(w.shape for w in weights["backbone"].values())
    for layer in range(4):
        assert torch.equal(
            weights["conv4"][f"convs.{layer}.weight"], weights["backbone"][f"blocks.{layer}.conv.weight"]
        )


def test_resnet12_has_the_size_of_the_papers():
    model = build_model(compose("model=resnet12")["model"], (3, 84, 84), 5)
    count = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("head"))
    assert count == 12_424_320 and model.head.in_features == 640
    assert len([m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]) == 12
    x = torch.rand(2, 3, 84, 84)
    assert model.blocks(x).shape == (2, 640, 5, 5)


@pytest.mark.parametrize(
    ("initialization", "variance"), [("he", 2 / 576), ("glorot", 2 / (576 + 576)), ("lecun", 1 / 576)]
)
def test_the_initial_weights_of_backbone(initialization, variance):
    node = node_of("backbone", width=64, initialization=initialization)
    weight = build_model(node, (1, 16, 16), 3).blocks[1].conv.weight
    assert weight.var().item() == pytest.approx(variance, rel=0.03) and abs(weight.mean().item()) < 0.002


WRONG = [
    ("backbone", {"depth": 0}, "model.depth=0: must be at least 1"),
    ("backbone", {"depth": 101}, "model.depth=101: must be at most 100"),
    ("backbone", {"depth": 5}, "model.depth=5: images of 16x16 are too small to be halved so often"),
    ("backbone", {"width": [3]}, r"model.width=\[3\]: must be one number, or 2 of them"),
    ("backbone", {"width": [3, 0]}, r"at least 1"),
    ("backbone", {"kernel": 4}, "model.kernel=4: must be odd"),
    ("backbone", {"dropout": 1}, "model.dropout=1: must be at least 0 and below 1"),
    ("backbone", {"normalization": "group", "groups": 3}, "model.groups=3: does not divide the width 4"),
    ("backbone", {"activation": "swish"}, "model.activation=swish: must be relu or leaky_relu or elu or selu or gelu"),
    ("resnet12", {"width": [4]}, r"model.width=\[4\]: must be four numbers of at least 1"),
    ("resnet12", {"drop": 1.0}, "model.drop=1.0: must be at least 0 and below 1"),
    ("resnet12", {"block_size": 0}, "model.block_size=0: must be at least 1"),
]


@pytest.mark.parametrize(("choice", "settings", "message"), WRONG)
def test_settings_that_are_wrong(choice, settings, message):
    with pytest.raises(UserError, match=message):
        build_model(node_of(choice, **settings), (1, 16, 16), 3)


@pytest.mark.parametrize("choice", ["resnet12", "backbone"])
def test_networks_of_images_refuse_vectors(choice):
    with pytest.raises(UserError, match=f"{choice} needs images, and the data are of shape .1,.: set model=mlp"):
        metalearn.model(choice, shape=(1,), outputs=1)


def masked(x, p, size, task=7):
    with using_context(NormContext(masks=Masks(0, 0, torch.tensor(task)))):
        return DropBlock(p, size)(x)


def test_dropblock_drops_whole_squares_at_the_rate_and_keeps_the_mean():
    x = torch.ones(40, 8, 12, 12)
    made = masked(x, 0.1, 3)
    dropped = (made == 0).float()
    assert 0.07 < dropped.mean() < 0.11 and made.mean().item() == pytest.approx(1, abs=1e-5)
    corners = 1 - F.max_pool2d(1 - dropped, 3, stride=1)  # places whose whole square is dropped
    again = F.max_pool2d(F.pad(corners, [2] * 4), 3, stride=1)
    assert torch.equal(again, dropped)  # squares and nothing else
    assert not torch.equal(masked(x, 0.1, 3, task=8), made) and torch.equal(masked(x, 0.1, 3), made)
    whole = masked(torch.ones(200, 8, 2, 2), 0.5, 5)  # no larger than the map
    assert torch.equal(whole.amin((2, 3)), whole.amax((2, 3))) and 0.4 < (whole == 0).float().mean() < 0.6
    assert DropBlock(0.1, 3)(x) is x  # outside of meta-training


DROPS = [
    pytest.param("resnet12", {"drop": 0.3, "block_size": 2}, marks=pytest.mark.slow),
    ("backbone", {"dropout": 0.3}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("choice", "settings"), DROPS)
def test_masks_depend_on_seed_and_task_alone(choice, settings):
    shape = (1, 32, 32) if choice == "resnet12" else (1, 16, 16)
    batch = batch_of(shape=shape, query=1)

    def of(**given):
        return gradient(made(choice, shape=shape, settings=given.pop("settings", settings), **given)[0], batch)

    first = of(inner_steps=2)
    torch.rand(5)
    assert torch.equal(of(inner_steps=2), first)
    assert not torch.equal(of(inner_steps=2, seed=1), first)
    assert not torch.equal(of(inner_steps=2, settings={}), first)
    for engine in ({"chunk": 1}, {"kernel": "vmap"}, {"inner_loop": "higher"}, {"recompute": True}):
        torch.testing.assert_close(of(inner_steps=2, **engine), first)
    found = []
    for own in (settings, {}):  # off at evaluation
        algo, _ = made(choice, shape=shape, settings=own)
        adapted = nth(algo.adapt(params_of(algo), batch.support_x, batch.support_y), 2)
        found.append(algo.predict(adapted, batch.query_x))
    assert torch.equal(*found)


@pytest.mark.parametrize("norm", every(2, ["per_step", "support"]))
def test_batch_norm_modes_hold_in_a_residual_network(norm):
    algo, _ = made("resnet12", norm=norm)
    params, batch = params_of(algo), batch_of(shape=(1, 16, 16))
    assert algo.passes.mode == norm and len(algo.net.norm_channels()) == 16
    assert all(g.isfinite().all() for g in algo.meta_gradient(params, batch).gradients.values())
    adapted = nth(algo.adapt(params, batch.support_x, batch.support_y), 1)
    both, alone = (algo.predict(adapted, x) for x in (batch.query_x, batch.query_x[:, :1]))
    torch.testing.assert_close(both[:, :1], alone)  # an image is classified alone
