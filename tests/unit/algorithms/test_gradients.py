"""Meta-gradients against finite differences, against `higher` as its authors use it, and against their definitions."""

import copy
import warnings

import higher
import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from metalearn.algorithms.parameters import nth
from metalearn.models.head import without_head
from metalearn.runtime.errors import UserError
from metalearn.training.chunks import Chunks
from metalearn.training.executor import Executor
from tests.helpers.configs import ALGORITHMS, NO_HIGHER, inner_steps, node_of
from tests.helpers.tasks import algorithm, batch_for, batch_of, close, params_of

# Algorithms whose direction is not the derivative of the query loss after adaptation
APPROXIMATE = {
    "fomaml": "leaves second derivatives out",
    "pretrain": "adapts to nothing in training",
    "reptile": "moves towards the adapted weights",
}


def query_loss(algo, params, batch):
    """The outer loss by the forward pass alone."""
    adapted = nth(algo.adapt(params, batch.support_x, batch.support_y), algo.inner_steps)
    return algo.objective.loss(algo.predict(adapted, batch.query_x), batch.query_y).mean().item()


def moved(params, direction, h):
    return params.with_learned({n: p + h * direction[n] for n, p in params.learned.items()})


@pytest.mark.parametrize("norm, filters", [("transductive", 4), ("transductive", 27), ("support", 4)])
@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name not in APPROXIMATE])
@pytest.mark.parametrize("steps", [1, 3])
def test_second_order_gradient_equals_finite_differences(name, norm, filters, steps):
    algo, batch = algorithm(name, inner_steps=steps, norm=norm, filters=filters), batch_of()
    params = params_of(algo)
    gradients = algo.meta_gradient(params, batch).gradients
    g = torch.Generator().manual_seed(1)
    for _ in range(3):
        direction = {n: torch.randn(p.shape, generator=g, dtype=p.dtype) for n, p in params.learned.items()}
        h = 1e-7  # a larger one crosses kinks of ReLU
        ahead = query_loss(algo, moved(params, direction, h), batch)
        behind = query_loss(algo, moved(params, direction, -h), batch)
        slope = sum((gradients[n] * direction[n]).sum().item() for n in params.learned)
        assert slope == pytest.approx((ahead - behind) / (2 * h), rel=2e-4, abs=1e-6)


def test_differentiable_adam_equals_finite_differences():
    adam = {"name": "Adam", "lr": 0.05, "betas": [0.5, 0.9], "eps": 1e-2}
    algo, batch = algorithm("maml", inner_steps=3, inner_optimizer=adam), batch_of()
    params = params_of(algo)
    gradients = algo.meta_gradient(params, batch).gradients
    direction = {
        n: torch.randn(p.shape, generator=torch.Generator().manual_seed(2), dtype=p.dtype)
        for n, p in params.model.items()
    }
    ahead, behind = (query_loss(algo, moved(params, direction, h), batch) for h in (1e-6, -1e-6))
    slope = sum((gradients[n] * direction[n]).sum().item() for n in params.learned)
    assert slope == pytest.approx((ahead - behind) / 2e-6, rel=2e-4)


def higher_reference(algo, params, batch, first_order=False):
    """The meta-gradient written with `higher` alone, on an ordinary module, one task after the other."""
    model = copy.deepcopy(algo.model).double()
    model.load_state_dict(params.model)
    total = {n: torch.zeros_like(p) for n, p in params.model.items()}
    lr, tasks = algo.inner_optimizer["lr"], len(batch.support_x)
    for t in range(tasks):
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with higher.innerloop_ctx(model, optimizer, copy_initial_weights=False) as (net, inner):
                for _ in range(algo.inner_steps):
                    inner.step(F.cross_entropy(net(batch.support_x[t]), batch.support_y[t]))
                loss = F.cross_entropy(net(batch.query_x[t]), batch.query_y[t])
                target = list(net.parameters()) if first_order else list(model.parameters())
                for name, g in zip(params.model, torch.autograd.grad(loss, target), strict=True):
                    total[name] += g.detach() / tasks
    return total


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name, filters", [("maml", 4), ("maml", 27), ("fomaml", 4), ("fomaml", 27)])
def test_gradient_equals_that_of_higher(name, filters, steps):
    algo, batch = algorithm(name, inner_steps=steps, filters=filters), batch_of()
    params = params_of(algo)
    ours = algo.meta_gradient(params, batch).gradients
    close(ours, higher_reference(algo, params, batch, first_order=name == "fomaml"))


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name not in NO_HIGHER])
@pytest.mark.parametrize("optimizer", [{"name": "SGD", "lr": 0.1}, {"name": "SGD", "lr": 0.1, "momentum": 0.9}])
def test_both_engines_give_the_same_meta_gradient(name, optimizer):
    batch = batch_for(name)
    settings = {"inner_steps": inner_steps(name, 3), "inner_optimizer": optimizer}
    both = [algorithm(name, **settings, **e) for e in ({"kernel": "grouped"}, {"inner_loop": "higher"})]
    params = params_of(both[0])
    close(*(algo.meta_gradient(params, batch).gradients for algo in both), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name not in NO_HIGHER])
@pytest.mark.parametrize(
    "optimizer", [{"name": "SGD", "lr": 0.1}, {"name": "Adam", "lr": 0.01, "betas": [0.0, 0.999], "eps": 1e-12}]
)
def test_both_engines_adapt_alike(name, optimizer):
    # eps is tiny, for `higher` keeps it where older releases of torch.optim.Adam had it
    batch = batch_of(tasks=1)
    both = [algorithm(name, **e, inner_optimizer=optimizer) for e in ({"kernel": "grouped"}, {"inner_loop": "higher"})]
    params = params_of(both[0])
    a, b = (nth(algo.adapt(params, batch.support_x, batch.support_y), 3).weights for algo in both)
    close(a, b, rtol=1e-5, atol=1e-8)


def test_the_higher_engine_runs_any_torch_optimizer():
    algo = algorithm("maml", inner_loop="higher", inner_optimizer={"name": "RMSprop", "lr": 0.01}, inner_steps=2)
    gradients = algo.meta_gradient(params_of(algo), batch_of()).gradients
    assert all(g.isfinite().all() for g in gradients.values()) and gradients["convs.0.weight"].abs().max() > 0


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if inner_steps(name, 1)])
@pytest.mark.parametrize("chunk", [1, 2])
def test_chunks_do_not_matter(name, chunk):
    batch = batch_for(name, tasks=5)
    whole, parts = algorithm(name, chunk=5), algorithm(name, chunk=chunk)
    params = params_of(whole)
    close(whole.meta_gradient(params, batch).gradients, parts.meta_gradient(params, batch).gradients)


def test_the_chunk_that_chooses_itself_changes_nothing():
    shape = (1, 28, 28)
    batch = batch_of(tasks=5, way=5, shot=1, query=15, shape=shape)
    free, whole = (algorithm("maml", way=5, shape=shape, chunk=chunk, kernel="vmap") for chunk in (None, 5))
    assert Chunks(free).tasks_at_once(batch) == 3
    params = params_of(free)
    close(Executor(free, "cpu")(params, batch).gradients, whole.meta_gradient(params, batch).gradients)


def test_fomaml_is_the_gradient_at_the_adapted_weights():
    algo, batch = algorithm("fomaml", inner_steps=2), batch_of()
    params = params_of(algo)
    expected = {n: torch.zeros_like(p) for n, p in params.model.items()}
    model = copy.deepcopy(algo.model).double()
    for t in range(3):
        w = dict(params.model)
        for _ in range(2):
            w = {n: p.detach().requires_grad_() for n, p in w.items()}
            loss = F.cross_entropy(functional_call(model, w, (batch.support_x[t])), batch.support_y[t])
            lr = algo.inner_optimizer["lr"]
            w = {
                n: p - lr * g for (n, p), g in zip(w.items(), torch.autograd.grad(loss, list(w.values())), strict=True)
            }
        w = {n: p.detach().requires_grad_() for n, p in w.items()}
        loss = F.cross_entropy(functional_call(model, w, (batch.query_x[t])), batch.query_y[t])
        for n, g in zip(w, torch.autograd.grad(loss, list(w.values())), strict=True):
            expected[n] += g / 3
    close(algo.meta_gradient(params, batch).gradients, expected)


def test_fomaml_is_not_maml():
    first, second, batch = algorithm("fomaml"), algorithm("maml"), batch_of()
    settings = {"inner_steps": 1, "inner_optimizer": {"name": "SGD", "lr": 0.4}}
    first, second = algorithm("fomaml", **settings), algorithm("maml", **settings)
    params = params_of(first)
    a, b = first.meta_gradient(params, batch).gradients, second.meta_gradient(params, batch).gradients
    assert (a["convs.0.weight"] - b["convs.0.weight"]).norm() > 0.05 * b["convs.0.weight"].norm()


def test_fomaml_without_steps_is_maml():
    batch = batch_of()
    first, second = algorithm("fomaml", inner_steps=0), algorithm("maml", inner_steps=0)
    params = params_of(first)
    close(first.meta_gradient(params, batch).gradients, second.meta_gradient(params, batch).gradients)


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if "adapt_norm" in node_of(name)])
def test_norm_parameters_are_left_alone_where_asked(name):
    algo, batch = algorithm(name, adapt_norm=False), batch_of()
    params = params_of(algo)
    adapted = nth(algo.adapt(params, batch.support_x, batch.support_y), 2).weights
    assert torch.equal(adapted["norms.0.weight"], params.model["norms.0.weight"])
    assert (adapted["convs.0.weight"] != params.model["convs.0.weight"]).any()
    assert algo.meta_gradient(params, batch).gradients["norms.0.weight"].abs().max() > 0  # still learned outside


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if "zero_head" in node_of(name)])
def test_a_head_that_is_left_at_zero_changes_no_other_gradient(name):
    zero, free, batch = algorithm(name, zero_head=True), algorithm(name), batch_of()
    params, head = params_of(zero), zero.head.names  # with a learned head, as in a run that was resumed with zero_head
    at_zero = params._replace(model=params.model | {entry: torch.zeros_like(params.model[entry]) for entry in head})
    found, expected = zero.meta_gradient(params, batch).gradients, free.meta_gradient(at_zero, batch).gradients
    assert not any(found[entry].any() for entry in head) and all(expected[entry].any() for entry in head)
    close(*({entry: g for entry, g in gradient.items() if entry not in head} for gradient in (found, expected)))
    assert zero.keeps_head_at_zero and not free.keeps_head_at_zero
    assert not any(zero.init().model[entry].any() for entry in head)


def test_boil_refuses_a_head_at_zero():
    with pytest.raises(
        UserError, match=r"algo\.zero_head=true: BOIL does not adapt the head, which would stay at zero"
    ):
        algorithm("boil", zero_head=True)


def test_anil_adapts_the_head_alone():
    algo, batch = algorithm("anil", inner_steps=3), batch_of()
    params = params_of(algo)
    adapted = nth(algo.adapt(params, batch.support_x, batch.support_y), 3).weights
    for name, value in params.model.items():
        if name.startswith("head."):
            assert (adapted[name] != value).any()
        else:
            assert torch.equal(adapted[name], value)


def test_anil_is_maml_that_may_adapt_only_the_head():
    anil, maml, batch = algorithm("anil", inner_steps=2), algorithm("maml", inner_steps=2), batch_of()
    maml.inner, maml.is_adapted = anil.inner, lambda name: name == "head.weight" or name == "head.bias"
    params = params_of(anil)
    close(anil.meta_gradient(params, batch).gradients, maml.meta_gradient(params, batch).gradients)


def test_reptile_is_theta_minus_the_mean_of_the_adapted():
    algo, batch = algorithm("reptile", inner_steps=4), batch_of(tasks=4, shot=10)
    params = params_of(algo)
    adapted = nth(algo.adapt(params, batch.support_x, batch.support_y, training=True), 4).weights
    expected = {name: value - adapted[name].mean(0) for name, value in params.model.items()}
    close(algo.meta_gradient(params, batch).gradients, expected)
    assert expected["convs.0.weight"].abs().max() > 1e-4


def test_reptile_takes_balanced_batches_in_turn():
    seen = []
    algo, batch = algorithm("reptile", inner_batch=6, inner_steps=5), batch_of(tasks=1, shot=10)
    algo.inner_loss = lambda params, outputs, y: seen.append(y[0]) or algo.objective.loss(outputs, y)
    algo.meta_gradient(params_of(algo), batch)
    assert all(torch.bincount(y).tolist() == [2, 2, 2] for y in seen) and len(seen) == 5


def test_reptile_batches_are_balanced_whatever_the_order_of_the_examples():
    seen = []
    algo, batch = algorithm("reptile", inner_batch_test=6), batch_of(tasks=2, shot=10)
    shuffle = torch.stack([torch.randperm(30, generator=torch.Generator().manual_seed(t)) for t in range(2)])
    x = batch.support_x[torch.arange(2)[:, None], shuffle]
    algo.inner_loss = lambda params, outputs, y: seen.append(y) or algo.objective.loss(outputs, y)
    path = algo.adapt(params_of(algo), x, batch.support_y.gather(1, shuffle))
    nth(path, 5)
    assert len(seen) == 5 and all(torch.bincount(row).tolist() == [2, 2, 2] for y in seen for row in y)


def test_reptile_against_a_plain_loop_with_torch_adam():
    algo, batch = (
        algorithm("reptile", inner_steps=3, inner_optimizer={"name": "Adam", "lr": 0.001, "betas": [0.0, 0.999]}),
        batch_of(tasks=1, shot=10),
    )
    params = params_of(algo)
    model = copy.deepcopy(algo.model).double()
    model.load_state_dict(params.model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001, betas=(0.0, 0.999))
    order = torch.arange(30).view(3, 10).T.flatten()
    for step in range(3):
        rows = order[step * 10 : step * 10 + 10]
        optimizer.zero_grad()
        F.cross_entropy(model(batch.support_x[0, rows]), batch.support_y[0, rows]).backward()
        optimizer.step()
    expected = {n: params.model[n] - p.detach() for n, p in model.named_parameters()}
    close(algo.meta_gradient(params, batch).gradients, expected, rtol=1e-5, atol=1e-9)


def test_pretraining_is_ordinary_classification():
    algo = algorithm("pretrain", labels=12)
    params = params_of(algo)
    x, y = torch.rand(1, 6, 1, 12, 12, dtype=torch.float64), torch.tensor([[0, 3, 3, 7, 11, 5]])
    batch = batch_of()._replace(support_x=x[:, :0], support_y=y[:, :0], query_x=x, query_y=y)
    model = copy.deepcopy(algo.model).double()
    model.load_state_dict(params.model)
    w = [value.requires_grad_() for value in params.extra.values()]
    body = without_head(model, algo.head)  # a copy
    loss = F.cross_entropy(F.linear(body(x[0]), *w), y[0])
    body = list(body.parameters())
    grads = torch.autograd.grad(loss, body + w)
    ours = algo.meta_gradient(params, batch).gradients
    names = [n for n in params.learned if not n.startswith("head.")]
    close({n: ours[n] for n in names}, dict(zip(names, grads, strict=True)))
    assert not ours["head.weight"].any()


@pytest.mark.parametrize(("finetune", "changes"), [("head", False), ("all", True)])
def test_pretraining_finetunes_a_fresh_head_or_everything(finetune, changes):
    algo, batch = algorithm("pretrain", finetune=finetune), batch_of()
    params = params_of(algo)
    assert not params.model["head.weight"].any()
    adapted = nth(algo.adapt(params, batch.support_x, batch.support_y), 3).weights
    assert adapted["head.weight"].abs().max() > 0 and not any(n.startswith("classifier.") for n in adapted)
    assert (adapted["convs.0.weight"] != params.model["convs.0.weight"]).any().item() is changes


@pytest.mark.parametrize(("reduction", "factor"), [("mean", 1), ("sum", 6), ("shot_mean", 3)])
def test_the_reduction_is_a_factor_on_the_inner_step(reduction, factor):
    batch = batch_of(way=3, shot=2)
    plain = algorithm("maml", inner_optimizer={"name": "SGD", "lr": 0.1 * factor}, reduction="mean")
    reduced = algorithm("maml", inner_optimizer={"name": "SGD", "lr": 0.1}, reduction=reduction)
    params = params_of(plain)
    a, b = (nth(x.adapt(params, batch.support_x, batch.support_y), 2).weights for x in (plain, reduced))
    close(a, b)


def test_no_meta_parameter_is_changed_by_evaluation():
    algo, batch = algorithm("maml", norm="per_step"), batch_of()
    params = params_of(algo)
    before = params.map(torch.clone)
    algo.predict(nth(algo.adapt(params, batch.support_x, batch.support_y), 3), batch.query_x)
    assert all(map(torch.equal, params.tensors(), before.tensors())) and len(params.statistics) == 4
