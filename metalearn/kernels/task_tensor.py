"""Tensors of many tasks that look like the tensor of one, so that a model is written once, for one task.

A TaskTensor holds the values of T tasks, with the task as one more dimension that its shape does not show. Operations
of torch on it apply to each task its own values, as torch.func.vmap does. What differs from vmap is the rules: those
in metalearn.kernels.rules keep the tasks in the memory order of metalearn.kernels.layout, and use its kernels. An
operation without a rule goes through vmap.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.overrides import get_default_nowrap_functions
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

Rule = Callable[..., Any]
RULES: dict[Any, Rule] = {}  # by function of torch: the same function of TaskTensors; may return NotImplemented


def rule(*functions: Any) -> Callable[[Rule], Rule]:
    """Register a function as the rule of functions of torch."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(functions, function))
        return function

    return register


class TaskTensor(Tensor):
    """The values of T tasks.

    Args:
        value: of all tasks; None if it is computed when it is first asked for.
        dim: the dimension of `value` in which the tasks lie.
        tasks: T.
        shape, like: the shape of one task's values, and a tensor of their type and device, where `value` is None.
        compute: computes the value, with the tasks in the dimension `dim`.
    """

    def __new__(  # noqa: D102
        cls,
        value: Tensor | None,
        dim: int,
        tasks: int = 0,
        shape: Iterable[int] = (),
        like: Tensor | None = None,
        compute: "Callable[[TaskTensor], Tensor] | None" = None,
    ) -> "TaskTensor":
        if value is not None:
            dim %= value.ndim
            tasks, like = value.shape[dim], value
            shape = [*value.shape[:dim], *value.shape[dim + 1 :]]
        assert like is not None
        sizes = tuple(shape)
        made: TaskTensor = Tensor._make_wrapper_subclass(cls, sizes, dtype=like.dtype, device=like.device)
        made._value, made.dim_of_tasks, made.tasks, made._compute, made.sizes = value, dim, tasks, compute, sizes
        return made

    _value: Tensor | None
    _compute: "Callable[[TaskTensor], Tensor] | None"
    dim_of_tasks: int
    tasks: int
    sizes: tuple[int, ...]  # the shape of one task's values; `shape` is the same, and slower

    @property
    def value(self) -> Tensor:
        """The values of all tasks, with the tasks in the dimension `dim_of_tasks`."""
        if self._value is None:
            assert self._compute is not None
            self._value, self._compute = self._compute(self), None
        return self._value

    @property
    def is_computed(self) -> bool:
        """True if the values lie in memory."""
        return self._value is not None

    def tasks_at(self, dim: int) -> Tensor:
        """View the values with the tasks in another dimension."""
        return self.value.movedim(self.dim_of_tasks, dim)

    def become(self, other: "TaskTensor") -> "TaskTensor":
        """Take the values of another one, as an operation in place does."""
        self._value, self._compute, self.dim_of_tasks = other.value, None, other.dim_of_tasks
        return self

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if (known := RULES.get(func)) is not None:
            if (result := known(*args, **kwargs)) is not NotImplemented:
                return result
        elif func in _OF_NO_VALUE:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        return by_vmap(func, args, kwargs)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise RuntimeError(f"{func} cannot be batched over tasks")

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"TaskTensor({self.tasks} tasks of {list(self.sizes)})"


# Functions that need no value. Autograd's graph holds the value and not the TaskTensor, which therefore has no hooks
_OF_NO_VALUE = get_default_nowrap_functions() | {
    Tensor.size, Tensor.dim, Tensor.numel, Tensor.__len__, Tensor.is_floating_point, Tensor.is_complex, torch.numel,
    torch.is_floating_point, torch.is_complex,
    *(vars(torch._C.TensorBase)[name].__get__ for name in (
        "shape", "dtype", "device", "ndim", "layout", "is_cuda", "requires_grad", "is_leaf", "grad_fn",
    )),
}  # fmt: skip


def by_vmap(func: Any, args: Any, kwargs: Any) -> Any:
    """Apply a function of torch to each task's values by torch.func.vmap.

    Raises:
        RuntimeError: the function cannot be batched.
    """
    flat, spec = tree_flatten((args, kwargs))
    places = [i for i, leaf in enumerate(flat) if isinstance(leaf, TaskTensor)]

    answers: list[Any] = []  # outputs that hold no tensor

    def of_one_task(*values: Tensor) -> Any:
        leaves = list(flat)
        for i, value in zip(places, values, strict=True):
            leaves[i] = value
        positional, named = tree_unflatten(leaves, spec)
        result = func(*positional, **named)
        if any(isinstance(leaf, Tensor) for leaf in tree_flatten(result)[0]):
            return result
        answers.append(result)
        return values[0]

    given = [flat[i] for i in places]
    result = vmap(of_one_task, tuple(x.dim_of_tasks for x in given))(*(x.value for x in given))
    if answers:
        return answers[0]
    return tree_map(lambda leaf: TaskTensor(leaf, 0) if isinstance(leaf, Tensor) else leaf, result)


def values_of(x: Any, tasks: int) -> Tensor:
    """The values [T, ...] of a result: of a TaskTensor, or the same for each task of a plain tensor."""
    return x.tasks_at(0) if isinstance(x, TaskTensor) else x.expand(tasks, *x.shape)


def weight_of(w: Tensor) -> Tensor:
    """A weight [T, ...], or of its own shape where the tasks share it."""
    return w.tasks_at(0) if isinstance(w, TaskTensor) else w


def sizes_of(x: Tensor) -> tuple[int, ...]:
    """The shape of a plain tensor, or of one task's values."""
    return x.sizes if isinstance(x, TaskTensor) else tuple(x.shape)
