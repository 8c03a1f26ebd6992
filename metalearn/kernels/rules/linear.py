"""Linear layers and products of matrices."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from metalearn.kernels.task_tensor import TaskTensor, rule, weight_of


@rule(F.linear)
def linear(x: Any, weight: Tensor, bias: Tensor | None = None) -> Any:
    """x [..., D] to [..., O] with a weight [O, D] and a bias [O]; each may differ between tasks."""
    if not isinstance(x, TaskTensor):
        return NotImplemented
    rows, w = x.tasks_at(0), weight_of(weight)
    flat = rows.flatten(1, -2) if len(x.sizes) > 1 else rows[:, None]
    made = flat @ w.mT
    if bias is not None:
        b = weight_of(bias)
        made = made + (b[:, None] if isinstance(bias, TaskTensor) else b)
    return TaskTensor(made.view(*rows.shape[:-1], -1), 0)
