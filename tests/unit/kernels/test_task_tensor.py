"""Models written for one task, over many: by the rules of TaskTensor, against a loop over tasks and against vmap."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from metalearn.kernels import rules  # noqa: F401
from metalearn.kernels.layout import stack
from metalearn.kernels.modes import chains_fused, differentiated_twice
from metalearn.kernels.rules import blocks
from metalearn.kernels.task_tensor import TaskTensor, values_of

TASKS = 3


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def norm(channels, **how):
    return nn.BatchNorm2d(channels, track_running_stats=False, **how)


class Residual(nn.Module):
    """Three convolutions beside a shortcut, as in ResNet-12."""

    def __init__(self, i, o):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(a, o, 3, padding=1, bias=False) for a in (i, o, o))
        self.norms = nn.ModuleList(nn.BatchNorm2d(o, track_running_stats=False) for _ in range(4))
        self.shortcut = nn.Conv2d(i, o, 1, bias=False)

    def forward(self, x):
        y = F.leaky_relu(self.norms[0](self.convs[0](x)), 0.1)
        y = F.leaky_relu(self.norms[1](self.convs[1](y)), 0.1, inplace=True)
        y = self.norms[2](self.convs[2](y))
        return F.max_pool2d(F.leaky_relu(y + self.norms[3](self.shortcut(x)), 0.1), 2)


class InPlace(nn.Module):
    """Sums, activations and views as people write them."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, (3, 1), (2, 1), (1, 0))
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)
        self.second = nn.Conv2d(4, 4, 3, padding="same", groups=2)
        self.scale = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, x):
        y = self.norm(self.first(x))
        F.relu(y, inplace=True)
        z = self.second(y)
        z += y * self.scale
        z = torch.cat([z, 2 - y], 1)
        z = F.avg_pool2d(z, 2).contiguous()
        return z.view(z.size(0), -1)


class UsedTwice(nn.Module):
    """Activations and pooling of values that other layers use too."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, bias=False), norm(4)
        self.biased = nn.Conv2d(8, 3, 2)

    def forward(self, x):
        y = self.norm(self.conv(x))
        z = self.biased(torch.cat([F.relu(y), F.relu(-y)], 1))
        z = F.relu(z) + F.leaky_relu(z, 0.2)
        return F.max_pool2d(y, 2).flatten(1).sum(1, keepdim=True) + F.max_pool2d(F.relu(y), 2).mean() * z.flatten(1)


def vgg():
    body = nn.Sequential(
        nn.Conv2d(2, 9, 3), nn.BatchNorm2d(9, track_running_stats=False), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(9, 4, 2, bias=True), nn.BatchNorm2d(4, affine=False, track_running_stats=False), nn.LeakyReLU(0.2),
        nn.Conv2d(4, 4, 1), nn.ELU(), nn.MaxPool2d(3, 1, 1), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
    )  # fmt: skip
    return nn.Sequential(body, nn.Linear(16, 3))


def normed():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, 2, dilation=2), nn.GroupNorm(2, 4), nn.GELU(), nn.Conv2d(4, 4, 1), nn.LayerNorm([4, 2, 2]),
        nn.SiLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3),
    )  # fmt: skip


def biased():
    return nn.Sequential(
        nn.Conv2d(2, 9, 3, padding=1), norm(9), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(9, 4, 3, padding=1), norm(4, affine=False), nn.LeakyReLU(0.2),
        nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(4, 3, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(3, 3, 1), nn.GELU(), nn.Flatten(),
    )  # fmt: skip


MODELS = {
    "biased": biased,
    "residual": lambda: nn.Sequential(Residual(2, 4), Residual(4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "in place": InPlace,
    "used twice": UsedTwice,
    "vgg": vgg,
    "group and layer norm": normed,
}


def a_pass(model, weights, x, rows=None):
    """The outputs of many tasks by rules."""
    named = {n: TaskTensor(w, 0) if n in (rows or weights) else w[0] for n, w in weights.items()}
    return values_of(functional_call(model, named, (TaskTensor(x, 0),)), TASKS)


def one_by_one(model, weights, x, rows=None):
    """The outputs of many tasks by a loop of plain torch."""
    each = [{n: w[t] if n in (rows or weights) else w[0] for n, w in weights.items()} for t in range(TASKS)]
    return torch.stack([functional_call(model, own, (x[t],)) for t, own in enumerate(each)])


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", list(MODELS))
def test_outputs_and_two_derivatives_are_those_of_a_loop(name, fused):
    torch.manual_seed(0)
    model = MODELS[name]().double()
    weights = {n: (p + 0.1 * random(TASKS, *p.shape)).detach().requires_grad_() for n, p in model.named_parameters()}
    x = random(TASKS, 4, 2, 8, 8)
    found = []
    for function in (a_pass, one_by_one):
        with differentiated_twice(True), chains_fused(fused):
            y = function(model, weights, x)
        first = torch.autograd.grad(y.square().sum(), list(weights.values()), create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), list(weights.values()))
        found.append((y, *first, *second))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)
    shared = [n for i, n in enumerate(weights) if i % 2]  # every second weight is the tasks' own
    for grads in (True, False):
        with torch.set_grad_enabled(grads), chains_fused(fused):
            ours, theirs = (function(model, weights, x, shared) for function in (a_pass, one_by_one))
            torch.testing.assert_close(ours, theirs)
    with chains_fused(fused):
        ours, theirs = (
            torch.autograd.grad(f(model, weights, x, shared).square().sum(), list(weights.values()))
            for f in (a_pass, one_by_one)
        )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_blocks_are_found_by_their_pattern(monkeypatch):
    chains = []
    monkeypatch.setattr(blocks, "run", lambda x, chain, twice: chains.append(len(chain)) or real(x, chain, twice))
    real = __import__("metalearn.kernels.conv_stack", fromlist=["run"]).run
    layers = [m for i in range(3) for m in (nn.Conv2d(4 if i else 2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())]
    for layer in layers[0::3]:
        layer.bias = None
    for layer in layers[1::3]:
        layer.running_mean = layer.running_var = layer.num_batches_tracked = None
        layer.track_running_stats = False
    model = nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten()).double()
    weights = {n: p.expand(TASKS, *p.shape) for n, p in model.named_parameters()}
    a_pass(model, weights, random(TASKS, 4, 2, 8, 8))
    assert chains == [3]  # three blocks as one function
    residual = MODELS["residual"]().double()
    a_pass(residual, {n: p.expand(TASKS, *p.shape) for n, p in residual.named_parameters()}, random(TASKS, 4, 2, 8, 8))
    assert chains[1:] == [3, 1, 3, 1]  # a value that two layers use ends a chain


def test_a_bias_before_batch_norm_stays_in_the_chain_with_a_gradient_of_zero(monkeypatch):
    chains, real = [], blocks.run
    monkeypatch.setattr(blocks, "run", lambda x, chain, twice: chains.append(len(chain)) or real(x, chain, twice))
    model = biased().double()
    weights = {n: p.expand(TASKS, *p.shape).detach().requires_grad_() for n, p in model.named_parameters()}
    grads = dict(zip(weights, torch.autograd.grad(
        a_pass(model, weights, random(TASKS, 4, 2, 8, 8)).square().sum(), list(weights.values())), strict=True))  # fmt: skip
    assert chains == [2]
    assert not grads["0.bias"].any() and not grads["4.bias"].any() and grads["7.bias"].all()


@pytest.mark.parametrize("own", [True, False])
def test_a_bias_without_batch_norm_keeps_the_memory_order(own):
    x, weight, bias = (random(*shape).float() for shape in ((TASKS, 2, 3, 6, 6), (4, 3, 3, 3), (TASKS, 4)))
    y = F.relu(F.conv2d(TaskTensor(x, 0), weight, TaskTensor(bias, 0) if own else bias[0]))
    assert stack(y.tasks_at(0)).data_ptr() == y.value.data_ptr()  # no copy


def test_questions_whose_answer_is_no_tensor():
    x = TaskTensor(random(TASKS, 4, 5).requires_grad_(), 0)
    assert x.stride() == (5, 1) and x.is_contiguous() and x.element_size() == 8 and not x.is_conj()
    assert (x.requires_grad, x.grad_fn) == (False, None)  # its value is part of the graph, so that it has no hooks


def test_a_forward_pass_may_be_watched_by_a_counter_of_flops():
    from torch.utils.flop_counter import FlopCounterMode

    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
    with FlopCounterMode(display=False) as counter:
        values_of(net(TaskTensor(torch.rand(TASKS, 1, 2, 6, 6, requires_grad=True), 0)), TASKS)
    assert counter.get_total_flops() == TASKS * 2 * 36 * 9 * 4 * (2 + 4)


def test_an_operation_that_cannot_be_batched_is_an_error():
    x = TaskTensor(random(TASKS, 4), 0)
    for wrong in (lambda: x.sum().item(), lambda: bool(x.sum() > 0), lambda: torch.zeros(4).double().add_(x)):
        with pytest.raises(RuntimeError, match=r"vmap|in-place|inplace|output with shape|batched"):
            wrong()
