"""Functions of images that treat every channel alike, such as pooling."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metalearn.kernels.layout import as_groups, from_groups, stack
from metalearn.kernels.task_tensor import RULES, TaskTensor


def image_values(x: TaskTensor) -> Tensor:
    """The values of images as [B, C, H, W, T], in the memory order of metalearn.kernels.layout."""
    return stack(x.tasks_at(0))


def by_channel(function: Any) -> Any:
    """The rule of a function from images [B, C, H, W] to images [B, C, H', W']."""

    def apply(x: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(x, TaskTensor) or len(x.sizes) != 4 or kwargs.get("return_indices"):
            return NotImplemented
        made = function(as_groups(image_values(x)), *args, **kwargs)
        if not isinstance(made, Tensor):
            return NotImplemented
        return TaskTensor(from_groups(made, x.tasks), 4)

    return apply


for _function in (
    F.max_pool2d, torch.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.interpolate,
    F.lp_pool2d,
):  # fmt: skip
    RULES[_function] = by_channel(_function)
