"""The inner loop: gradient steps on the support loss, as an endless iterator of weights.

All engines give the same numbers. `grouped` and `vmap` (metalearn.models.base.Functional) step many tasks at once and
know SGD and Adam. `higher` (Grefenstette et al., "Generalized inner loop meta-learning", 2019) takes one task after the
other and any optimiser it knows.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_flatten, tree_unflatten

from metalearn.build import call
from metalearn.errors import UserError
from metalearn.models.base import EngineName, Weights

Loss = Callable[[Weights], Tensor]  # weights to one loss a task, [T]


class Optimizer(Protocol):
    """An optimiser as a differentiable function of weights and gradients."""

    def update(self, weights: list[Tensor], grads: list[Tensor], state: Any) -> tuple[list[Tensor], Any]:
        """New weights and new state; `state` is None at the first step."""


def _check_rate(lr: float) -> None:
    """Raise ValueError unless a learning rate is above 0 and a number in single precision."""
    if not 0 < lr <= torch.finfo(torch.float32).max:
        raise ValueError(f"lr={lr}: must be above 0, and a number in single precision")


class SGD:
    """w - lr g, with optional momentum: v <- momentum v + g, w - lr v (as torch.optim.SGD)."""

    def __init__(self, *, lr: float, momentum: float = 0.0):
        _check_rate(lr)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum={momentum}: must be at least 0 and below 1")
        self.lr, self.momentum = lr, momentum

    def update(self, weights: list[Tensor], grads: list[Tensor], state: Any) -> tuple[list[Tensor], Any]:
        """One step."""
        if self.momentum:
            state = grads if state is None else [self.momentum * v + g for v, g in zip(state, grads, strict=True)]
            grads = state
        return [torch.add(w, g, alpha=-self.lr) for w, g in zip(weights, grads, strict=True)], state


class Adam:
    """Adam (Kingma & Ba, ICLR 2015, algorithm 1); Reptile's inner optimiser with betas=[0, 0.999]."""

    def __init__(self, *, lr: float, betas: list[float] = [0.9, 0.999], eps: float = 1e-8):  # noqa: B006
        _check_rate(lr)
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas={list(betas)}: must be two numbers, at least 0 and below 1")
        if not 0 < eps < math.inf:  # at 0, a weight whose gradient is 0 would become NaN
            raise ValueError(f"eps={eps}: must be above 0")
        self.lr, self.betas, self.eps = lr, betas, eps

    def update(self, weights: list[Tensor], grads: list[Tensor], state: Any) -> tuple[list[Tensor], Any]:
        """One step."""
        b1, b2 = self.betas
        zeros = [torch.zeros_like(g) for g in grads]
        step, first, second = state or (0, zeros, zeros)
        step += 1
        first = [b1 * m + (1 - b1) * g for m, g in zip(first, grads, strict=True)]
        second = [b2 * v + (1 - b2) * g * g for v, g in zip(second, grads, strict=True)]
        rate, scale = self.lr / (1 - b1**step), (1 - b2**step) ** 0.5
        moved = [
            # the root of an exact 0 has no finite derivative, and dead units do have gradient 0
            w - rate * m / (torch.where(v > 0, v, torch.ones_like(v)).sqrt() * (v > 0) / scale + self.eps)
            for w, m, v in zip(weights, first, second, strict=True)
        ]
        return moved, (step, first, second)


class Batched:
    """Many tasks at once; plain tensor arithmetic."""

    tasks_at_once: int | None = None  # as many as are given

    def __init__(self, optimizer: Optimizer):
        self.optimizer = optimizer

    def descend(self, loss: Loss, start: Weights, second_order: bool) -> Iterator[Weights]:
        """Yield the weights after 0, 1, 2, ... steps on `loss`, for ever.

        Args:
            loss: of weights with a leading task dimension, one value a task.
            start: weights [T, ...]; what is yielded first.
            second_order: whether the weights keep their dependence on `start`; otherwise each is a leaf.
        """
        names, state = list(start), None
        weights = list(start.values()) if second_order else _leaves(start.values())
        while True:
            yield dict(zip(names, weights, strict=True))
            value = loss(dict(zip(names, weights, strict=True))).sum()  # tasks are independent: the sum mixes nothing
            grads = gradients(value, weights, create_graph=second_order)
            weights, state = self.optimizer.update(weights, grads, state)
            if not second_order:
                weights = _leaves(weights)


def recomputed(
    loss: Callable[[Weights, Weights, bool], Tensor],
    optimizer: Callable[[Weights], Optimizer],
    start: Weights,
    held: Weights,
    steps: int,
) -> Weights:
    """Take `steps` second-order steps as `Batched.descend`, in the memory of a few of them.

    Kept are the weights at every sqrt(steps)-th step. The backward pass goes through the steps between two of them
    once more, keeping the weights of each, and then through each step alone, keeping all that it computes: about two
    further forward passes (Griewank & Walther, "Evaluating derivatives", 2008, chapter 12).

    Args:
        loss: of the meta-parameters, the adapted weights [T, ...], and of whether it will be differentiated twice; one
            value for each task. It must not remember its calls.
        optimizer: the inner optimizer as a function of the meta-parameters.
        start: the weights [T, ...] before the first step.
        held: the meta-parameters. The gradient reaches those that `loss` and `optimizer` take from their argument.
        steps: how many.

    Raises:
        UserError: in the backward pass, where `loss` or `optimizer` uses a learned tensor that is not in its arguments,
            whose gradient would be lost.
    """
    count, forms = len(start), {0: _parted(None)[1]}  # the optimizer's state but for its tensors, by step

    def run(first: int, last: int, size: int, graph: bool, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        rest, fast = tensors[: len(held)], tensors[len(held) :]
        if last - first > 1:
            for i in range(first, last, size):
                part = partial(run, i, min(i + size, last), 1)
                fast = _Recompute.apply(part, *rest, *fast)
            return fast
        meta = dict(zip(held, rest, strict=True))
        weights = list(fast[:count]) if graph else _leaves(fast[:count])
        state = _joined(fast[count:], forms[first])
        with torch.enable_grad():
            value = loss(meta, dict(zip(start, weights, strict=True)), graph).sum()
            grads = gradients(value, weights, create_graph=graph)
        with torch.set_grad_enabled(graph):
            weights, state = optimizer(meta).update(weights, grads, state)
        tensors, forms[last] = _parted(state)
        return *weights, *tensors

    tensors = (*held.values(), *start.values())
    moved = run(0, steps, max(1, math.isqrt(steps)), True, tensors) if steps else tuple(start.values())
    return dict(zip(start, moved[:count], strict=True))


class _Recompute(Function):
    """Activation checkpointing: save only the inputs, and compute again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, run: Callable[[bool, tuple[Tensor, ...]], tuple[Tensor, ...]], *tensors: Tensor) -> Any:
        ctx.run = run
        ctx.save_for_backward(*tensors)
        return run(False, tuple(t.detach() for t in tensors))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        leaves = tuple(_leaves(ctx.saved_tensors))
        with torch.enable_grad():
            outputs = ctx.run(True, leaves)
        asked = [(output, grad) for output, grad in zip(outputs, grads, strict=True) if output.requires_grad]
        _refuse_others([output for output, _ in asked], leaves)
        by = [output for output, _ in asked], leaves, [grad for _, grad in asked]
        return None, *torch.autograd.grad(*by, materialize_grads=True)


def _refuse_others(outputs: list[Tensor], leaves: tuple[Tensor, ...]) -> None:
    """Raise UserError where the outputs depend on a leaf that is not among these."""
    known = {id(leaf) for leaf in leaves}
    nodes = [output.grad_fn for output in outputs]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        variable = getattr(node, "variable", None)
        if variable is not None and id(variable) not in known:
            raise UserError("algo.recompute=true: the inner loss or optimizer uses a learned tensor that is not in the "
                            "`meta` it is given; take it from there, or set algo.recompute=false")  # fmt: skip
        following = {n for n, _ in node.next_functions if n is not None} - seen if node is not None else set()
        seen |= following
        nodes += following


def _parted(state: Any) -> tuple[tuple[Tensor, ...], Any]:
    """The tensors of an optimiser's state, and all the rest."""
    values, tree = tree_flatten(state)
    return tuple(v for v in values if isinstance(v, Tensor)), (
        [None if isinstance(v, Tensor) else [v] for v in values],
        tree,
    )


def _joined(tensors: tuple[Tensor, ...], form: Any) -> Any:
    """The state again."""
    (others, tree), left = form, iter(tensors)
    return tree_unflatten([next(left) if other is None else other[0] for other in others], tree)


class Higher:
    """One task at a time through `higher`'s differentiable copy of a torch.optim optimiser."""

    tasks_at_once: int | None = 1

    def __init__(self, optimizer: type[torch.optim.Optimizer], settings: dict[str, Any]):
        self.optimizer, self.settings = optimizer, settings

    def descend(self, loss: Loss, start: Weights, second_order: bool) -> Iterator[Weights]:
        """As Batched.descend."""
        import higher

        names = list(start)
        weights = list(start.values()) if second_order else _leaves(start.values())
        like = _leaves(weights)  # tells `higher` how many there are and of what shape
        plain = self.optimizer(like, **self.settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer = higher.get_diff_optim(plain, like, track_higher_grads=second_order)
        while True:
            yield dict(zip(names, weights, strict=True))
            value = loss(dict(zip(names, weights, strict=True))).sum()
            weights = list(optimizer.step(value, params=weights))
            if not second_order:
                weights = _leaves(weights)


def make_engine(name: EngineName, optimizer: dict[str, Any], where: str = "algo.inner_optimizer") -> Batched | Higher:
    """The engine with its inner optimiser, given as {name: a class of torch.optim, lr: ..., ...}."""
    settings = {key: value for key, value in optimizer.items() if key != "name"}
    kind = optimizer.get("name")
    if name != "higher":
        known = {"SGD": SGD, "Adam": Adam}
        if kind not in known:
            raise UserError(f"{where}.name={kind}: this engine has SGD and Adam; for others algo.engine=higher")
        return Batched(call(known[kind], settings, where))
    if not (isinstance(kind, str) and hasattr(torch.optim, kind)):
        raise UserError(f"{where}.name={kind}: not an optimiser of torch.optim")
    built = Higher(getattr(torch.optim, kind), settings)
    try:  # a step on a trial, for `higher` does not know every optimiser
        next(islice(built.descend(lambda w: w["w"].square().sum(), {"w": torch.ones(1, 2)}, False), 1, None))
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from error
    return built


def gradients(value: Tensor, weights: list[Tensor], create_graph: bool = False) -> list[Tensor]:
    """The gradient of a sum over tasks; zeros for what it does not depend on, as a bias before a batch norm."""
    return list(torch.autograd.grad(value, weights, create_graph=create_graph, materialize_grads=True))


def _leaves(tensors: Any) -> list[Tensor]:
    return [t.detach().requires_grad_() for t in tensors]
