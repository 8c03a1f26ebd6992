"""The inner loop: gradient steps on the support loss, as an endless iterator of weights.

UnrolledLoop steps many tasks at once with an inner optimizer of metalearn.inner.optimizers; HigherLoop
(metalearn.inner.higher) steps one task after the other with an optimizer of torch.optim.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from torch import Tensor

from metalearn.config.engine import InnerLoop as InnerLoopName
from metalearn.inner.gradients import gradients, leaves
from metalearn.inner.higher import HigherLoop
from metalearn.inner.optimizers import Optimizer, make_optimizer
from metalearn.kernels.modes import differentiated_twice
from metalearn.models.weights import Weights

Loss = Callable[[Weights], Tensor]  # from weights [T, ...] to the loss of each task [T]


class InnerLoop(Protocol):
    """A way to take inner steps."""

    optimizer: Any
    tasks_at_once: int | None  # None: any number

    def unroll(self, loss: Loss, start: Weights, second_order: bool, optimizer: Any) -> Iterator[Weights]:
        """Yield the weights after 0, 1, 2, ... steps; see UnrolledLoop.unroll."""


class UnrolledLoop:
    """Steps many tasks at once by plain tensor arithmetic."""

    tasks_at_once: int | None = None

    def __init__(self, optimizer: Optimizer):
        self.optimizer = optimizer

    def unroll(self, loss: Loss, start: Weights, second_order: bool, optimizer: Optimizer) -> Iterator[Weights]:
        """Yield the weights after 0, 1, 2, ... steps on `loss`, without end.

        Args:
            loss: a function from weights [T, ...] to the loss of each task [T].
            start: weights [T, ...]; what is yielded first.
            second_order: True if the weights keep their dependence on `start`; otherwise each is a leaf.
            optimizer: takes the steps.
        """
        names, state = list(start), None
        weights = list(start.values()) if second_order else leaves(start.values())
        while True:
            yield dict(zip(names, weights, strict=True))
            with differentiated_twice(second_order):  # tasks are independent: the sum mixes nothing
                value = loss(dict(zip(names, weights, strict=True))).sum()
            grads = gradients(value, weights, create_graph=second_order)
            weights, state = optimizer.update(weights, grads, state)
            if not second_order:
                weights = leaves(weights)


def make_inner_loop(name: InnerLoopName, optimizer: dict[str, Any], where: str = "algo.inner_optimizer") -> InnerLoop:
    """Make an inner loop with its optimizer.

    Args:
        optimizer: {name: SGD or Adam, or with `higher` a class of torch.optim, lr: ..., ...}; or {_target_: a
            user-defined class that satisfies metalearn.inner.optimizers.Optimizer, and its settings}.
        where: its name in the configuration, for messages.

    Raises:
        UserError: no such optimizer, or a wrong setting.
    """
    if name == "higher":
        return HigherLoop.make(optimizer, where)
    return UnrolledLoop(make_optimizer(optimizer, where))
