"""Inner optimizers: differentiable functions of weights and gradients, and how settings name them."""

import math
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from metalearn.config.instantiate import build, call
from metalearn.runtime.errors import UserError


@runtime_checkable
class Optimizer(Protocol):
    """An optimizer as a differentiable function of weights and gradients.

    `+algo.inner_optimizer._target_=mypackage.Mine` chooses a user-defined class. The other settings of
    `algo.inner_optimizer`, such as `lr`, are the keyword arguments of its constructor.
    """

    def update(self, weights: list[Tensor], grads: list[Tensor], state: Any) -> tuple[list[Tensor], Any]:
        """Take one step.

        Args:
            weights: the adapted weights, each [T, ...] for T tasks.
            grads: the gradient of each weight, of its shape.
            state: what the step before returned; None at the first step.

        Returns:
            The new weights, made of tensors by differentiable operations and not changed in place, and the new state:
            tensors and plain values in tuples, lists and dictionaries.
        """


def _check_rate(lr: float) -> None:
    """Raise ValueError unless a learning rate is above 0 and a number in single precision."""
    if not 0 < lr <= torch.finfo(torch.float32).max:
        raise ValueError(f"lr={lr}: must be above 0, and a number in single precision")


class SGD:
    """Gradient descent w <- w - lr g; with momentum v <- momentum v + g, w <- w - lr v, as torch.optim.SGD does it."""

    def __init__(self, *, lr: float, momentum: float = 0.0):
        _check_rate(lr)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum={momentum}: must be at least 0 and below 1")
        self.lr, self.momentum = lr, momentum

    def update(self, weights: list[Tensor], grads: list[Tensor], state: Any) -> tuple[list[Tensor], Any]:
        """Take one step."""
        if self.momentum:
            state = grads if state is None else [self.momentum * v + g for v, g in zip(state, grads, strict=True)]
            grads = state
        return [torch.add(w, g, alpha=-self.lr) for w, g in zip(weights, grads, strict=True)], state


class Adam:
    """Adam (Kingma & Ba, ICLR 2015, algorithm 1). The Reptile paper uses it in the inner loop with betas=[0, 0.999]."""

    def __init__(self, *, lr: float, betas: list[float] = [0.9, 0.999], eps: float = 1e-8):  # noqa: B006
        _check_rate(lr)
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas={list(betas)}: must be two numbers, at least 0 and below 1")
        if not 0 < eps < math.inf:  # at 0, a weight whose gradient is 0 would become NaN
            raise ValueError(f"eps={eps}: must be above 0")
        self.lr, self.betas, self.eps = lr, betas, eps

    def update(self, weights: list[Tensor], grads: list[Tensor], state: Any) -> tuple[list[Tensor], Any]:
        """Take one step."""
        b1, b2 = self.betas
        zeros = [torch.zeros_like(g) for g in grads]
        step, first, second = state or (0, zeros, zeros)
        step += 1
        first = [b1 * m + (1 - b1) * g for m, g in zip(first, grads, strict=True)]
        second = [b2 * v + (1 - b2) * g * g for v, g in zip(second, grads, strict=True)]
        rate, scale = self.lr / (1 - b1**step), (1 - b2**step) ** 0.5
        moved = [
            # the root has no finite derivative at exactly 0, which is the gradient of a dead unit
            w - rate * m / (torch.where(v > 0, v, torch.ones_like(v)).sqrt() * (v > 0) / scale + self.eps)
            for w, m, v in zip(weights, first, second, strict=True)
        ]
        return moved, (step, first, second)


class PerWeightSGD:
    """Gradient descent with a learning rate for every weight (Meta-SGD)."""

    def __init__(self, rates: list[Tensor]):
        self.rates = rates

    def update(self, weights: list[Tensor], grads: list[Tensor], state: None) -> tuple[list[Tensor], None]:
        """Take one step; rates are shared by the tasks in the leading dimension."""
        moved = [torch.addcmul(w, rate, g, value=-1) for w, rate, g in zip(weights, self.rates, grads, strict=True)]
        return moved, state


class Checked:
    """A user-defined optimizer, each of whose results is checked against the contract."""

    def __init__(self, optimizer: Optimizer, where: str):
        self.optimizer, self.where = optimizer, where

    def update(self, weights: list[Tensor], grads: list[Tensor], state: Any) -> tuple[list[Tensor], Any]:
        """Take one step.

        Raises:
            UserError: the result is not as Optimizer.update says.
        """
        result = self.optimizer.update(weights, grads, state)
        if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[0], (list, tuple)):
            raise UserError(f"{self.where}: update must return a pair, the list of new weights and the new state")
        found = [tuple(w.shape) if isinstance(w, Tensor) else type(w).__name__ for w in result[0]]
        shapes = [tuple(w.shape) for w in weights]
        if found != shapes:
            raise UserError(f"{self.where}: update must return weights of the shapes {shapes}, not {found}")
        return list(result[0]), result[1]


NAMED = {"SGD": SGD, "Adam": Adam}


def make_optimizer(settings: Mapping[str, Any], where: str) -> Optimizer:
    """Make an optimizer from settings.

    Args:
        settings: {name: SGD or Adam, ...}, or {_target_: a dotted path, ...}, which takes precedence over `name`; the
            others are keyword arguments of its constructor.
        where: their name in the configuration, for messages.

    Raises:
        UserError: no such optimizer, or a wrong setting.
    """
    values = {key: value for key, value in settings.items() if key != "name"}
    if target := values.get("_target_"):
        return Checked(build(values, where, Optimizer), f"{where}._target_={target}")  # type: ignore[type-abstract]
    if (kind := settings.get("name")) not in NAMED:
        raise UserError(
            f"{where}.name={kind}: must be SGD or Adam; for others set engine.inner_loop=higher, or "
            f"name a class of yours: +{where}._target_=mypackage.Mine"
        )
    made: Optimizer = call(NAMED[kind], values, where)
    return made
