"""Second-order inner loops in little memory: steps are computed again in the backward pass."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_flatten, tree_unflatten

from metalearn.inner.gradients import gradients, leaves
from metalearn.inner.optimizers import Optimizer
from metalearn.kernels.modes import differentiated_twice
from metalearn.models.weights import Weights
from metalearn.runtime.errors import UserError


def recomputed(
    loss: Callable[[int, Weights, Weights], Tensor],
    optimizer: Callable[[Weights], Optimizer],
    start: Weights,
    held: Weights,
    steps: int,
) -> Weights:
    """Take `steps` second-order steps as UnrolledLoop.unroll, in the memory of a few of them.

    The weights at every sqrt(steps)-th step are kept. The backward pass computes the steps between two of them again
    and keeps the weights of each; then it computes each step again and keeps its whole graph. This costs about two
    further forward passes (Griewank & Walther, "Evaluating derivatives", 2008, chapter 12).

    Args:
        loss: of the step, the learned meta-parameters and the adapted weights [T, ...]; one value for each task. It
            must not keep state between calls.
        optimizer: the inner optimizer as a function of the learned meta-parameters.
        start: the weights [T, ...] before the first step.
        held: the meta-parameters. The gradient reaches those that `loss` and `optimizer` take from their argument.
        steps: number of inner steps.

    Raises:
        UserError: in the backward pass, where `loss` or `optimizer` uses a learned tensor that is not in its arguments,
            whose gradient would be lost.
    """
    count, forms = len(start), {0: _flatten_state(None)[1]}  # by step: the optimizer's state without its tensors

    def run(first: int, last: int, size: int, graph: bool, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        rest, fast = tensors[: len(held)], tensors[len(held) :]
        if last - first > 1:
            for i in range(first, last, size):
                part = partial(run, i, min(i + size, last), 1)
                fast = _Recompute.apply(part, *rest, *fast)
            return fast
        learned = dict(zip(held, rest, strict=True))
        weights = list(fast[:count]) if graph else leaves(fast[:count])
        state = _unflatten_state(fast[count:], forms[first])
        with torch.enable_grad():
            with differentiated_twice(graph):
                value = loss(first, learned, dict(zip(start, weights, strict=True))).sum()
            grads = gradients(value, weights, create_graph=graph)
        with torch.set_grad_enabled(graph):
            weights, state = optimizer(learned).update(weights, grads, state)
        tensors, forms[last] = _flatten_state(state)
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
        inputs = tuple(leaves(ctx.saved_tensors))
        with torch.enable_grad():
            outputs = ctx.run(True, inputs)
        asked = [(output, grad) for output, grad in zip(outputs, grads, strict=True) if output.requires_grad]
        _refuse_others([output for output, _ in asked], inputs)
        by = [output for output, _ in asked], inputs, [grad for _, grad in asked]
        return None, *torch.autograd.grad(*by, materialize_grads=True)


def _refuse_others(outputs: list[Tensor], leaves: tuple[Tensor, ...]) -> None:
    """Raise UserError where the outputs depend on a leaf of the graph that is not among `leaves`."""
    known = {id(leaf) for leaf in leaves}
    nodes = [output.grad_fn for output in outputs]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        variable = getattr(node, "variable", None)
        if variable is not None and id(variable) not in known:
            raise UserError(
                "engine.recompute=true: the inner loss or optimizer uses a learned tensor that is not in "
                "the `params` it is given; take it from there, or set engine.recompute=false"
            )
        following = {n for n, _ in node.next_functions if n is not None} - seen if node is not None else set()
        seen |= following
        nodes += following


def _flatten_state(state: Any) -> tuple[tuple[Tensor, ...], Any]:
    """Separate the tensors of an optimizer's state from the rest."""
    values, tree = tree_flatten(state)
    return tuple(v for v in values if isinstance(v, Tensor)), (
        [None if isinstance(v, Tensor) else [v] for v in values],
        tree,
    )


def _unflatten_state(tensors: tuple[Tensor, ...], form: Any) -> Any:
    """Undo _flatten_state."""
    (others, tree), left = form, iter(tensors)
    return tree_unflatten([next(left) if other is None else other[0] for other in others], tree)
