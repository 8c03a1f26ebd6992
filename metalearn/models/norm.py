"""Batch norm whose statistics are chosen in every forward pass.

There are three modes. They are the most confused setting of the field (Bronskill et al., "TaskNorm", ICML 2020,
sections 2-3):

- `transductive`: statistics of the very images that are classified, as in the original MAML and Reptile code. All
  query images of a task are normalized together, so a prediction depends on its neighbours.
- `support`: statistics of the task's support set, computed with the adapted weights. Each query image is classified
  independently of the others.
- `per_step`: support passes use their batch statistics, in meta-training and at evaluation, so that both run the same
  inner loop. Meta-training keeps a running average for every inner step. Query images are normalized by their batch
  statistics in meta-training, and by the running average of the step at evaluation, each image alone (after Antoniou
  et al., "How to train your MAML", ICLR 2019, section 4).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metalearn.errors import UserError
from metalearn.models.masks import Masks

NormMode = Literal["transductive", "support", "per_step"]
EPS = 1e-5  # added to variances, PyTorch's default
MOMENTUM = 0.1  # of the running averages, PyTorch's default


@dataclass
class NormContext:
    """The context of one forward pass, for its batch norm and dropout layers in their order."""

    reference: int | None = None  # statistics come from the first `reference` rows; None: from all rows
    running: list[Tensor] | None = None  # [2, C] (mean, variance) for each layer, used instead of batch statistics
    collect: bool = False
    batch_statistics: list[Tensor] = field(default_factory=list)  # with `collect`: of each layer, [2, C]
    layer: int = 0
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

    def forward(self, x: Tensor, norm: NormContext | None = None) -> Tensor:
        """Normalize x [B, C, ...] as `norm` says, or else the current context."""
        weight = x.new_ones(self.channels) if self.weight is None else self.weight
        bias = x.new_zeros(self.channels) if self.bias is None else self.bias
        return normalize(x, weight, bias, norm or current_context(), self.eps)


def normalize(x: Tensor, weight: Tensor, bias: Tensor, norm: NormContext, eps: float) -> Tensor:
    """Batch norm over x [B, C, ...] as `norm` says, in single precision at least; weight and bias [C]."""
    x = x.float() if x.dtype == torch.bfloat16 else x  # from autocast: statistics and differences need more digits
    if norm.is_batch_only:
        if x.numel() == x.shape[1]:
            raise UserError(
                f"batch norm: one value in each of {x.shape[1]} channels has no variance: raise shot=, query= or "
                "algo.inner_batch=, or use larger images"
            )
        return F.batch_norm(x, None, None, weight, bias, training=True, eps=eps)
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
