"""The same meta-gradients as users write them today: with `higher`, and with torch.autograd.grad task by task."""

import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from metalearn.data.base import TaskBatch

Gradients = dict[str, Tensor]


class Net(nn.Module):
    """A network as a head behind a body.

    Args:
        model: in plain torch; its batch norm has no running statistics.
        head: name of the head.
    """

    def __init__(self, model: nn.Module, head: str):
        super().__init__()
        parent, _, last = head.rpartition(".")
        self.head: nn.Linear = model.get_submodule(head)  # type: ignore[assignment]
        setattr(model.get_submodule(parent), last, nn.Identity())
        self.features = model

    def forward(self, x: Tensor) -> Tensor:
        """Images to class scores."""
        scores: Tensor = self.head(self.features(x))
        return scores

    def as_named(self, gradients: Gradients, head: str) -> Gradients:
        """Gradients by the names of the model's own parameters."""
        rename = lambda name: f"{head}{name[4:]}" if name.startswith("head.") else name.removeprefix("features.")
        return {rename(name): value for name, value in gradients.items()}


def loop(algo: str, net: Net, batch: TaskBatch, steps: int, lr: float) -> Gradients:
    """One task after the other with torch.autograd.grad."""
    theta = dict(net.named_parameters())
    if algo == "anil":
        return _mean(theta, batch, lambda *task: _anil_loop(net, theta, *task, steps, lr))
    second = algo == "maml"

    def one(sx: Tensor, sy: Tensor, qx: Tensor, qy: Tensor) -> list[Tensor]:
        fast = dict(theta) if second else {n: w.detach().requires_grad_() for n, w in theta.items()}
        for _ in range(steps):
            loss = F.cross_entropy(functional_call(net, fast, (sx,)), sy)
            grads = torch.autograd.grad(loss, list(fast.values()), create_graph=second)
            fast = {n: w - lr * g for (n, w), g in zip(fast.items(), grads, strict=True)}
            if not second:
                fast = {n: w.detach().requires_grad_() for n, w in fast.items()}
        if algo == "reptile":
            with torch.no_grad():
                F.cross_entropy(functional_call(net, fast, (qx,)), qy)
                return [theta[n] - w for n, w in fast.items()]
        loss = F.cross_entropy(functional_call(net, fast, (qx,)), qy)
        return list(torch.autograd.grad(loss, list((theta if second else fast).values())))

    return _mean(theta, batch, one)


def _anil_loop(
    net: Net, theta: Gradients, sx: Tensor, sy: Tensor, qx: Tensor, qy: Tensor, steps: int, lr: float
) -> list[Tensor]:
    support, query = net.features(sx), net.features(qx)
    head = [net.head.weight, net.head.bias]
    for _ in range(steps):
        grads = torch.autograd.grad(F.cross_entropy(F.linear(support, *head), sy), head, create_graph=True)
        head = [w - lr * g for w, g in zip(head, grads, strict=True)]
    return list(torch.autograd.grad(F.cross_entropy(F.linear(query, *head), qy), list(theta.values())))


def with_higher(algo: str, net: Net, batch: TaskBatch, steps: int, lr: float) -> Gradients:
    """One task after the other with `higher`, as its examples do."""
    import higher

    theta = dict(net.named_parameters())
    second = algo in ("maml", "anil")
    adapted = net.head if algo == "anil" else net
    optimizer = torch.optim.SGD(adapted.parameters(), lr=lr)

    def one(sx: Tensor, sy: Tensor, qx: Tensor, qy: Tensor) -> list[Tensor]:
        if algo == "anil":
            sx, qx = net.features(sx), net.features(qx)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            context = higher.innerloop_ctx(adapted, optimizer, copy_initial_weights=False, track_higher_grads=second)
            with context as (fast, inner):
                for _ in range(steps):
                    inner.step(F.cross_entropy(fast(sx), sy))
                if algo == "reptile":
                    with torch.no_grad():
                        F.cross_entropy(fast(qx), qy)
                        return [w - f for w, f in zip(theta.values(), fast.parameters(), strict=True)]
                wanted = list(theta.values()) if second else list(fast.parameters())
                return list(torch.autograd.grad(F.cross_entropy(fast(qx), qy), wanted))

    return _mean(theta, batch, one)


def ordinary(algo: str, net: Net, batch: TaskBatch, steps: int, lr: float) -> Gradients:
    """No meta-learning at all: one forward and backward pass over all images of the meta-batch."""
    x = torch.cat([batch.support_x, batch.query_x], dim=1).flatten(0, 1)
    y = torch.cat([batch.support_y, batch.query_y], dim=1).flatten()
    grads = torch.autograd.grad(F.cross_entropy(net(x), y), list(net.parameters()))
    return dict(zip(dict(net.named_parameters()), grads, strict=True))


def _mean(theta: Gradients, batch: TaskBatch, one: Callable[..., list[Tensor]]) -> Gradients:
    total: list[Tensor] | None = None
    for task in zip(*batch[:4], strict=True):  # the ids of the tasks are not needed
        grads = [g.detach() for g in one(*task)]
        total = grads if total is None else [a + b for a, b in zip(total, grads, strict=True)]
    assert total is not None
    return {name: g / len(batch.support_x) for name, g in zip(theta, total, strict=True)}
