"""Batch norm whose statistics are chosen in every forward pass.

There are three modes. They are often confused, though their scores cannot be compared (Bronskill et al., "TaskNorm",
ICML 2020, sections 2-3):

- `transductive`: statistics of the very images that are classified, as in the original MAML and Reptile code. All
  query images of a task are normalized together, so a prediction depends on its neighbours.
- `support`: statistics of the task's support set, computed with the adapted weights. Each query image is classified
  independently of the others.
- `per_step`: support passes use their batch statistics, in meta-training and at evaluation, so that both run the same
  inner loop. Meta-training keeps a running average for every inner step. Query images are normalized by their batch
  statistics in meta-training, and by the running average of the step at evaluation, each image alone (after Antoniou
  et al., "How to train your MAML", ICLR 2019, section 4).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metalearn.kernels.layout import as_groups, by_channel, from_groups
from metalearn.kernels.rules.pooling import image_values
from metalearn.kernels.task_tensor import TaskTensor, sizes_of, weight_of
from metalearn.models.masks import Masks
from metalearn.runtime.errors import UserError

NormMode = Literal["transductive", "support", "per_step"]
EPS = 1e-5  # added to variances, PyTorch's default
MOMENTUM = 0.1  # of the running averages, PyTorch's default


@dataclass
class NormContext:
    """The context of one forward pass, for its batch norm and dropout layers in their order."""

    reference: int | None = None  # statistics come from the first `reference` rows; None: from all rows
    running: list[Tensor] | None = None  # [2, C] (mean, variance) for each layer, used instead of batch statistics
    collect: bool = False  # append the statistics of each layer to `batch_statistics`
    batch_statistics: list[Tensor] = field(default_factory=list)  # with `collect`: of each layer, [2, C]
    layer: int = 0  # with `running`: the number of the next batch-norm layer
    training: bool = False  # meta-training, not evaluation; `module.training` of every layer
    masks: Masks | None = None  # of dropout; None: no dropout

    @property
    def is_batch_only(self) -> bool:
        """True if the statistics are those of all rows and are not collected."""
        return self.running is None and self.reference is None and not self.collect


_present: ContextVar[NormContext | None] = ContextVar("present", default=None)


@contextmanager
def using_context(norm: NormContext) -> Iterator[None]:
    """Make a context the current one, for layers that are given none."""
    token = _present.set(norm)
    try:
        yield
    finally:
        _present.reset(token)


def current_context() -> NormContext:
    """The context of the forward pass that runs."""
    return _present.get() or NormContext()


class BatchNorm(nn.Module):
    """Batch norm over [B, C, ...] with affine parameters and no state of its own; see NormContext."""

    def __init__(self, channels: int, eps: float = EPS):
        super().__init__()
        self.channels, self.eps = channels, eps
        self.weight: nn.Parameter | None = nn.Parameter(torch.ones(channels))
        self.bias: nn.Parameter | None = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x [B, C, ...] as the current context says, in single precision at least."""
        norm = current_context()
        x = x.float() if x.dtype == torch.bfloat16 else x  # from autocast: statistics and differences need more digits
        if norm.is_batch_only:
            _check_variance(sizes_of(x))
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        weight = x.new_ones(self.channels) if self.weight is None else self.weight
        bias = x.new_zeros(self.channels) if self.bias is None else self.bias
        if isinstance(x, TaskTensor) and len(x.sizes) == 4:
            return _of_tasks(x, weight, bias, norm, self.eps)
        return normalize(x, weight, bias, norm, self.eps)


def _of_tasks(x: TaskTensor, weight: Tensor, bias: Tensor, norm: NormContext, eps: float) -> Tensor:
    """Batch norm of images of many tasks, each channel of each task as a channel of its own."""
    running = None if norm.running is None else [v.repeat(1, x.tasks) for v in norm.running]
    own = replace(norm, running=running, batch_statistics=[])
    gamma, beta = (by_channel(weight_of(v), x.tasks) for v in (weight, bias))
    made = from_groups(normalize(as_groups(image_values(x)), gamma, beta, own, eps), x.tasks)
    norm.layer = own.layer
    norm.batch_statistics += [TaskTensor(v.unflatten(1, (x.tasks, -1)), 1) for v in own.batch_statistics]
    return TaskTensor(made, 4)


def _check_variance(shape: tuple[int, ...]) -> None:
    """Raise UserError where the channels of one task's values have no variance."""
    if math.prod(shape) == shape[1]:
        raise UserError(
            f"batch norm: one value in each of {shape[1]} channels has no variance: raise shot=, query= or "
            "algo.inner_batch=, or use larger images"
        )


def normalize(x: Tensor, weight: Tensor, bias: Tensor, norm: NormContext, eps: float) -> Tensor:
    """Batch norm over x [B, C, ...] by the statistics that `norm` chooses, with weight and bias [C]."""
    if norm.running is not None:
        mean, variance = norm.running[norm.layer]
        norm.layer += 1
    else:
        reference = x if norm.reference is None else x[: norm.reference]
        dims = [0, *range(2, x.ndim)]
        mean, variance = reference.mean(dims), reference.var(dims, correction=0)
        if norm.collect:
            norm.batch_statistics.append(torch.stack([mean, variance]).detach())
    scale: Tensor = weight * torch.rsqrt(variance + eps)
    each = (-1, *[1] * (x.ndim - 2))
    shift: Tensor = bias - mean * scale
    return x * scale.view(each) + shift.view(each)
