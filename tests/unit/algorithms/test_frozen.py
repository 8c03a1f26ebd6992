"""Layers that are frozen in the inner loop: every algorithm leaves them as they are, and adapts the others as before."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from metalearn.algorithms.parameters import nth
from tests.helpers.tasks import algorithm, batch_of, close, params_of

RATE = {"inner_optimizer": {"name": "SGD", "lr": 0.1}, "reduction": "mean"}
OWN = {"reptile": {"inner_batch_test": 6}, "pretrain": {"finetune": "all"}}  # of 6 support images
MIDDLE = ("convs.1.weight", "norms.1.weight", "norms.1.bias")


def by_hand(algo, params, x, y, moving, steps):
    """The weights of one task after gradient steps on some of them."""
    fast = dict(params.model)
    for _ in range(steps):
        leaves = {name: fast[name].detach().requires_grad_() for name in moving}
        loss = F.cross_entropy(functional_call(algo.model, {**fast, **leaves}, (x,)), y)
        grads = torch.autograd.grad(loss, list(leaves.values()))
        fast |= {name: leaves[name].detach() - 0.1 * g for name, g in zip(moving, grads, strict=True)}
    return fast


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("maml", "grouped"),
        ("maml", "vmap"),
        ("fomaml", "grouped"),
        ("boil", "grouped"),
        ("metasgd", "grouped"),
        ("reptile", "grouped"),
        ("reptile", "vmap"),
        ("pretrain", "grouped"),
    ],
)
@pytest.mark.parametrize("frozen", [MIDDLE, ("convs.0.weight", "norms.0.weight", "norms.0.bias", *MIDDLE)])
def test_frozen_layers_stay_and_the_others_move_as_a_loop_written_by_hand_says(name, kernel, frozen):
    algo, batch = algorithm(name, kernel=kernel, **RATE, **OWN.get(name, {})), batch_of()
    params = params_of(algo)
    changed = algo.with_frozen(frozen)
    adapted = nth(changed.adapt(params, batch.support_x, batch.support_y), 3).weights
    moving = [n for n in params.model if algo.is_adapted(n) and n not in frozen]
    for task in range(3):
        expected = by_hand(algo, params, batch.support_x[task], batch.support_y[task], moving, 3)
        close({n: w if n not in moving else w[task] for n, w in adapted.items()}, expected, rtol=1e-6, atol=1e-8)
    for n in frozen:
        assert torch.equal(adapted[n], params.model[n])
    assert algo.frozen == frozenset()  # it has not changed itself


def test_maml_with_a_frozen_body_adapts_as_anil_does():
    maml, anil, batch = algorithm("maml"), algorithm("anil"), batch_of()
    params = params_of(maml)
    body = [name for name in params.model if name not in maml.head.names]
    adapted = [nth(algo.adapt(params, batch.support_x, batch.support_y), 3) for algo in (maml.with_frozen(body), anil)]
    close(adapted[0].weights, adapted[1].weights)
    assert torch.equal(
        maml.with_frozen(body).predict(adapted[0], batch.query_x), anil.predict(adapted[1], batch.query_x)
    )


@pytest.mark.parametrize("name", ["maml", "anil", "reptile", "pretrain"])
def test_an_inner_loop_with_every_layer_frozen_changes_nothing(name):
    algo, batch = algorithm(name), batch_of()
    params = params_of(algo)
    still = algo.with_frozen(params.model)
    path = [nth(still.adapt(params, batch.support_x, batch.support_y), n) for n in (0, 2)]
    assert path[1].step == 2 and all(torch.equal(w, params.model[n]) for n, w in path[1].weights.items())
    assert torch.equal(*(still.predict(adapted, batch.query_x) for adapted in path))


@pytest.mark.parametrize("frozen", [("head.weight",), ("head.bias",)])
def test_a_part_of_the_head_can_be_frozen(frozen):
    algo, batch = algorithm("anil", **RATE), batch_of()
    params = params_of(algo)
    adapted = nth(algo.with_frozen(frozen).adapt(params, batch.support_x, batch.support_y), 2).weights
    moving = [name for name in algo.head.names if name not in frozen]
    expected = by_hand(algo, params, batch.support_x[0], batch.support_y[0], moving, 2)
    close({n: w[0] if n in moving else w for n, w in adapted.items()}, expected, rtol=1e-6, atol=1e-8)


def test_a_meta_step_of_reptile_leaves_frozen_layers_as_they_are():
    algo = algorithm("reptile").with_frozen(MIDDLE)
    params, batch = params_of(algo), batch_of(shot=4)
    gradients = algo.meta_gradient(params, batch).gradients
    assert {n: g.shape for n, g in gradients.items()} == {n: w.shape for n, w in params.model.items()}
    assert not any(gradients[n].any() for n in MIDDLE) and gradients["convs.0.weight"].any()
