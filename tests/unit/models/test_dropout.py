"""Dropout: masks that depend on seed, task, pass and call alone."""

import signal

import pytest
import torch

from metalearn.algorithms.parameters import nth
from metalearn.lifecycle.launch import train
from metalearn.models.dropout import Dropout
from metalearn.models.masks import Masks
from metalearn.models.norm import NormContext, using_context
from metalearn.runtime.signals import Signals, Stopped
from tests.helpers.configs import ALGORITHMS, GLYPHS, NO_HIGHER, config, every
from tests.helpers.resuming import Countdown, resumed_at, same
from tests.helpers.tasks import algorithm, batch_of, params_of
from tests.unit.models.test_torch_layers import HERE, gradient, made

MODEL = (
    f"model._target_={HERE}.Plain",
    "~model.filters",
    "~model.downsampling",
    "~model.pooling",
    "+model.layer=running",
    "+model.drop=0.5",
    "+model.wide=2",
)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_masks_of_dropout_depend_on_seed_and_task_alone(name):
    algo, batch = made("ours", name, drop=0.5), batch_of()
    first = gradient(algo, batch)
    torch.rand(5)
    assert torch.equal(gradient(algo, batch), first)
    assert not torch.equal(gradient(made("ours", name), batch), first)
    assert not torch.equal(gradient(made("ours", name, drop=0.5, seed=1), batch), first)
    assert not torch.equal(gradient(algo, batch._replace(ids=batch.ids + 3)), first)
    torch.testing.assert_close(gradient(made("ours", name, drop=0.5, chunk=1), batch), first)
    if algo.unit == "tasks":
        parts = [type(batch)(*(field[part] for field in batch)) for part in (slice(0, 1), slice(1, 3))]
        both = gradient(algo, parts[0]) / 3 + gradient(algo, parts[1]) * 2 / 3
        torch.testing.assert_close(both, first)


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if not algorithm(name).cannot_recompute])
def test_recomputation_and_other_engines_draw_the_same_masks(name):
    kept = gradient(made("ours", name, drop=0.5, inner_steps=12, recompute=False))
    torch.testing.assert_close(gradient(made("ours", name, drop=0.5, inner_steps=12)), kept)
    if name not in NO_HIGHER:
        torch.testing.assert_close(gradient(made("ours", name, drop=0.5, inner_steps=12, inner_loop="higher")), kept)


@pytest.mark.parametrize("layer", ["none", "channels"])
def test_every_pass_has_masks_of_its_own_with_the_right_rate(layer):
    algo, seen = made(layer, drop=0.25), []
    batch = batch_of(tasks=40)
    params = params_of(algo)
    for number in (0, 1, -1, 0):
        ones = algo.passes._context(number, None, True, batch.ids)
        seen.append(algo.net.features(params.model, batch.support_x, ones)[0])
    assert torch.equal(seen[0], seen[3]) and not torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], seen[2])
    drop = algo.model.body[3] if layer == "none" else algo.model.body[1]
    assert drop.p == (0.25 if layer == "none" else 0.5) and drop.by_channel == (layer == "channels")


def test_the_rate_and_the_shape_of_masks():
    x = torch.ones(20, 8, 10, 10)
    with using_context(NormContext(masks=Masks(0, 0, torch.tensor(7)))):
        single, other, whole = Dropout(0.25)(x), Dropout(0.25)(x), Dropout(0.25, by_channel=True)(x)
        assert not Dropout(1.0)(x).any()
    assert set(single.unique().tolist()) == set(whole.unique().tolist()) == {0.0, x[0, 0, 0, 0].div(0.75).item()}
    assert abs(single.bool().double().mean() - 0.75) < 0.02 and not torch.equal(single, other)
    assert torch.equal(whole.amin((2, 3)), whole.amax((2, 3))) and 0.6 < whole.bool().double().mean() < 0.9
    assert Dropout(0.25)(x) is x  # outside of meta-training


@pytest.mark.parametrize("name", ALGORITHMS)
def test_dropout_is_off_at_evaluation(name):
    batch, found = batch_of(), []
    for drop in (0.0, 0.5):
        algo = made("ours", name, drop=drop)
        adapted = nth(algo.adapt(params_of(algo), batch.support_x, batch.support_y), 2)
        found.append(algo.predict(adapted, batch.query_x))
    assert torch.equal(*found)


@pytest.mark.slow
@pytest.mark.parametrize("words", every(2, [(), ("algo=reptile", "algo.train_shot=2")]), ids=["maml", "reptile"])
def test_a_resumed_run_draws_the_masks_of_the_run_never_stopped(words, tmp_path, monkeypatch):
    words = (*(word for word in GLYPHS if not word.startswith("model.")), *MODEL, *words)
    countdown = Countdown(-1, None)
    monkeypatch.setattr(Signals, "check", lambda self: countdown())
    train(config(*words), tmp_path / "whole")
    for at in range(4, countdown.count, 9):
        countdown.__init__(at, Stopped(signal.SIGTERM))
        assert resumed_at(tmp_path / f"{at}", words, countdown)
        torch.rand(at)  # the state of torch's generator is of no account
        same(tmp_path / "whole", tmp_path / f"{at}")
