"""Sums and means over dimensions, and changes of shape."""

import math
from typing import Any

import torch
from torch import Tensor

from metalearn.kernels.rules.elementwise import aligned
from metalearn.kernels.task_tensor import TaskTensor, rule, sizes_of


def _reduced(function: Any) -> Any:
    """The rule of a reduction of some dimensions."""

    def apply(x: Any, dim: Any = None, keepdim: bool = False, **kwargs: Any) -> Any:
        if not isinstance(x, TaskTensor):
            return NotImplemented
        rank = len(x.sizes)
        over = range(rank) if dim is None else [dim] if isinstance(dim, int) else dim
        over, at = sorted({d % rank for d in over}), x.dim_of_tasks
        there = [d + (d >= at) for d in over]
        value = function(x.value, there, keepdim=keepdim, **kwargs) if there else function(x.value, (), **kwargs)
        return TaskTensor(value, at if keepdim else at - sum(d < at for d in over))

    return apply


for _name in ("mean", "sum", "amax", "amin", "var", "std"):
    rule(getattr(torch, _name), getattr(Tensor, _name))(_reduced(getattr(torch, _name)))


@rule(Tensor.view, Tensor.reshape, torch.reshape)
def reshape(x: Any, *shape: Any) -> Any:
    """Change the shape of each task's values; `view` copies where needed, since they may not be contiguous."""
    if not isinstance(x, TaskTensor) or any(isinstance(s, torch.dtype) for s in shape):
        return NotImplemented
    sizes = shape[0] if shape and isinstance(shape[0], (tuple, list)) else shape
    return TaskTensor(x.tasks_at(0).reshape(x.tasks, *_whole(sizes, math.prod(x.sizes))), 0)


def _whole(sizes: Any, count: int) -> list[int]:
    """Sizes without -1."""
    known = 1
    for size in sizes:
        known *= size if size != -1 else 1
    return [count // max(known, 1) if size == -1 else size for size in sizes]


@rule(torch.flatten, Tensor.flatten)
def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Flatten dimensions of each task's values."""
    if not isinstance(x, TaskTensor) or not x.sizes:
        return NotImplemented
    rank = len(x.sizes)
    return TaskTensor(x.tasks_at(0).flatten(1 + start_dim % rank, 1 + end_dim % rank), 0)


@rule(torch.cat, torch.concat)
def cat(tensors: Any, dim: int = 0) -> Any:
    """Join values along a dimension."""
    ranks = {len(sizes_of(x)) for x in tensors}
    if len(ranks) > 1:
        return NotImplemented
    tasks = next(x.tasks for x in tensors if isinstance(x, TaskTensor))
    values, at = aligned(list(tensors))
    values = [v if isinstance(x, TaskTensor) else v.movedim(at, 0).expand(tasks, *sizes_of(x)).movedim(0, at)
              for x, v in zip(tensors, values, strict=True)]  # fmt: skip
    dim %= ranks.pop()
    return TaskTensor(torch.cat(values, dim + (dim >= at)), at)


@rule(Tensor.contiguous)
def contiguous(x: Any, **_: Any) -> Any:
    """The values as they are: no operation here asks for a memory order."""
    return x


@rule(Tensor.__iter__)
def iterate(x: Any) -> Any:
    """The rows of each task."""
    return iter(x.unbind(0))
