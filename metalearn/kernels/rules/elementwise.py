"""Functions of single values: they keep the memory order."""

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metalearn.kernels.task_tensor import RULES, TaskTensor, sizes_of

_OF_ONE = (
    "relu relu6 leaky_relu elu selu celu gelu silu mish softplus softsign logsigmoid hardtanh hardswish hardsigmoid "
    "tanhshrink sigmoid tanh neg abs exp expm1 log log1p sqrt rsqrt square reciprocal sin cos erf sign clamp clamp_min "
    "clamp_max clone detach float double half bfloat16 to type_as nan_to_num isnan isfinite logical_not"
).split()
_OF_TWO = (
    "add sub mul div true_divide pow maximum minimum eq ne lt le gt ge logical_and logical_or __add__ __radd__ __sub__ "
    "__rsub__ __mul__ __rmul__ __truediv__ __rtruediv__ __pow__ __rpow__"
).split()
_IN_PLACE = "add_ sub_ mul_ div_ relu_ __iadd__ __isub__ __imul__ __itruediv__".split()


def _places(name: str) -> list[Any]:
    """The functions of this name in torch, in Tensor and in torch.nn.functional."""
    found = (getattr(place, name, None) for place in (torch, Tensor, F))
    return [function for function in found if function is not None]


def of_one(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """The rule of a function of one tensor."""

    def apply(x: Any, *args: Any, inplace: bool = False, **kwargs: Any) -> Any:
        if not isinstance(x, TaskTensor) or any(isinstance(v, Tensor) for v in (*args, *kwargs.values())):
            return NotImplemented
        result = TaskTensor(function(x.value, *args, **kwargs), x.dim_of_tasks)
        return x.become(result) if inplace else result

    return apply


def aligned(tensors: list[Any]) -> tuple[list[Any], int]:
    """Values that broadcast against each other task by task, and the dimension of the tasks in all of them.

    Args:
        tensors: TaskTensors, plain tensors, which all tasks share, and plain numbers.
    """
    batched = [x for x in tensors if isinstance(x, TaskTensor)]
    rank = max(len(sizes_of(x)) for x in tensors if isinstance(x, Tensor))
    like = max(batched, key=lambda x: (len(x.sizes), math.prod(x.sizes)))
    at = like.dim_of_tasks + rank - len(like.sizes)

    def align(x: Any) -> Any:
        if isinstance(x, TaskTensor):
            if len(x.sizes) == rank and x.dim_of_tasks == at:
                return x.value
            value = x.tasks_at(0)
            return value.reshape(x.tasks, *[1] * (rank - len(x.sizes)), *x.sizes).movedim(0, at)
        if isinstance(x, Tensor) and x.ndim:
            return x.reshape(*[1] * (rank - x.ndim), *x.shape).unsqueeze(at)
        return x

    return [align(x) for x in tensors], at


def of_two(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """The rule of a function of two tensors or numbers, which broadcasts."""

    def apply(a: Any, b: Any, **kwargs: Any) -> Any:
        (a, b), at = aligned([a, b])
        return TaskTensor(function(a, b, **kwargs), at)

    return apply


def in_place(function: Callable[..., Any]) -> Callable[..., Any]:
    """The rule of a function that changes its first argument, which must be a TaskTensor of the result's shape."""

    def apply(x: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(x, TaskTensor):
            return NotImplemented
        result = function(x, *args, **kwargs)
        if result.sizes != x.sizes:
            return NotImplemented
        return x.become(result)

    return apply


def _register() -> None:
    for name in _OF_ONE:
        RULES.update({function: of_one(function) for function in _places(name)})
    for name in _OF_TWO:
        RULES.update({function: of_two(function) for function in _places(name)})
    pairs = {
        "__iadd__": operator.add,
        "__isub__": operator.sub,
        "__imul__": operator.mul,
        "__itruediv__": operator.truediv,
    }
    for name in _IN_PLACE:
        out = pairs.get(name) or getattr(torch, name[:-1])
        RULES.update({function: in_place(out) for function in _places(name)})


_register()
