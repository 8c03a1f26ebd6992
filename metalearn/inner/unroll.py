"""The inner loop: gradient steps on the support loss, as an endless iterator of weights.

`grouped` and `vmap` (metalearn.models.base.Functional) step many tasks at once with an inner optimizer of
metalearn.inner.optimizers. `higher` (Grefenstette et al., "Generalized inner loop meta-learning", 2019) takes one task
after the other, with those optimizers of torch.optim that it knows.

All engines give the same numbers, but for Adam in second order where inner gradients are near 0, as in the body below a
head at zero. `higher` adds eps to the root of the second moment before its bias is corrected, metalearn's Adam and
torch.optim.Adam after it: with beta2 = 0.999, the eps of `higher` counts 31.6 times as much in the first step, and the
derivative of a step by a gradient near 0, lr / eps, is smaller by this factor.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from metalearn.errors import UserError
from metalearn.inner.optimizers import Optimizer, make_optimizer
from metalearn.models.base import EngineName, Weights

Loss = Callable[[Weights], Tensor]  # weights to one loss a task, [T]


class Batched:
    """Many tasks at once; plain tensor arithmetic."""

    tasks_at_once: int | None = None  # as many as are given

    def __init__(self, optimizer: Optimizer):
        self.optimizer = optimizer

    def descend(self, loss: Loss, start: Weights, second_order: bool) -> Iterator[Weights]:
        """Yield the weights after 0, 1, 2, ... steps on `loss`, without end.

        Args:
            loss: of weights with a leading task dimension, one value a task.
            start: weights [T, ...]; what is yielded first.
            second_order: whether the weights keep their dependence on `start`; otherwise each is a leaf.
        """
        names, state = list(start), None
        weights = list(start.values()) if second_order else leaves(start.values())
        while True:
            yield dict(zip(names, weights, strict=True))
            value = loss(dict(zip(names, weights, strict=True))).sum()  # tasks are independent: the sum mixes nothing
            grads = gradients(value, weights, create_graph=second_order)
            weights, state = self.optimizer.update(weights, grads, state)
            if not second_order:
                weights = leaves(weights)


class Higher:
    """One task at a time through `higher`'s differentiable copy of a torch.optim optimiser."""

    tasks_at_once: int | None = 1

    def __init__(self, optimizer: type[torch.optim.Optimizer], settings: dict[str, Any]):
        self.optimizer, self.settings = optimizer, settings

    def descend(self, loss: Loss, start: Weights, second_order: bool) -> Iterator[Weights]:
        """As Batched.descend."""
        import higher

        names = list(start)
        weights = list(start.values()) if second_order else leaves(start.values())
        like = leaves(weights)  # tells `higher` how many there are and of what shape
        plain = self.optimizer(like, **self.settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer = higher.get_diff_optim(plain, like, track_higher_grads=second_order)
        while True:
            yield dict(zip(names, weights, strict=True))
            value = loss(dict(zip(names, weights, strict=True))).sum()
            weights = list(optimizer.step(value, params=weights))
            if not second_order:
                weights = leaves(weights)


def make_engine(name: EngineName, optimizer: dict[str, Any], where: str = "algo.inner_optimizer") -> Batched | Higher:
    """Make an engine with its inner optimizer.

    Args:
        optimizer: {name: SGD or Adam, or with `higher` a class of torch.optim, lr: ..., ...}; or {_target_: a class of
            the user's own that keeps to metalearn.inner.optimizers.Optimizer, and its settings}.
        where: its name in the configuration, for messages.

    Raises:
        UserError: no such optimizer, or a wrong setting.
    """
    if name != "higher":
        return Batched(make_optimizer(optimizer, where))
    settings = {key: value for key, value in optimizer.items() if key != "name"}
    kind = optimizer.get("name")
    if "_target_" in optimizer:
        raise UserError(
            f"{where}._target_: algo.engine=higher takes optimizers of torch.optim alone; set algo.engine=auto"
        )
    if not (isinstance(kind, str) and hasattr(torch.optim, kind)):
        raise UserError(f"{where}.name={kind}: not an optimizer of torch.optim")
    built = Higher(getattr(torch.optim, kind), settings)
    try:  # a step on a trial, for `higher` does not know every optimiser
        next(islice(built.descend(lambda w: w["w"].square().sum(), {"w": torch.ones(1, 2)}, False), 1, None))
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from error
    return built


def gradients(value: Tensor, weights: list[Tensor], create_graph: bool = False) -> list[Tensor]:
    """The gradient of a sum over tasks; zeros for what it does not depend on, as a bias before a batch norm."""
    return list(torch.autograd.grad(value, weights, create_graph=create_graph, materialize_grads=True))


def leaves(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The same values without history, ready to be differentiated by."""
    return [t.detach().requires_grad_() for t in tensors]
