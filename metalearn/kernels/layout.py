"""Equal to torch.stack and views of it; the memory order in which one kernel serves many tasks without copies.

Images of T tasks lie as [B, C, H, W, T] in the memory order B, H, W, T, C. The same memory is an ordinary
channels-last batch [B, T*C, H, W], on which a convolution in T groups applies to each task its own weights, and batch
norm, channel by channel, each task its own statistics; and it is a batch of volumes whose third dimension is the task,
over which a kernel of 3x3x1 applies the same weights to every task. Changing from one view to the other copies nothing.
"""

import torch
from torch import Tensor


def stack(x: Tensor) -> Tensor:
    """Images [T, B, C, H, W] as [B, C, H, W, T] in the memory order B, H, W, T, C."""
    return x.permute(1, 3, 4, 0, 2).contiguous().permute(0, 4, 1, 2, 3)


def as_groups(x: Tensor) -> Tensor:
    """A view of [B, C, H, W, T] as [B, T*C, H, W], channels last."""
    return x.permute(0, 2, 3, 4, 1).flatten(3).permute(0, 3, 1, 2)


def from_groups(x: Tensor, tasks: int) -> Tensor:
    """A view of [B, T*C, H, W] as [B, C, H, W, T]."""
    batch, channels, height, width = x.shape
    return x.permute(0, 2, 3, 1).view(batch, height, width, tasks, channels // tasks).permute(0, 4, 1, 2, 3)


def by_channel(v: Tensor, tasks: int) -> Tensor:
    """Values by channel, [T, C] or shared [C], as [T*C] in memory of their own.

    ATen's kernels take the memory to be contiguous; with one channel, `flatten` of an expanded view has stride 0.
    """
    return v.repeat(tasks) if v.ndim == 1 else v.flatten().contiguous()


def expand(weight: Tensor, tasks: int) -> Tensor:
    """A weight for each of `tasks` tasks, a view [T, ...]; kernels channels last, as their gradients are."""
    if weight.ndim != 4:
        return weight.expand(tasks, *weight.shape)
    last = weight.permute(0, 2, 3, 1).contiguous()
    return last.expand(tasks, *last.shape).permute(0, 1, 4, 2, 3)


def shaped_as(v: Tensor, weight: Tensor) -> Tensor:
    """Values by channel [T*C] in the shape of a weight [T, C], or summed over the tasks that share one [C]."""
    return v.view(-1, len(weight)).sum(0) if weight.ndim == 1 else v.view_as(weight)


def pooled(x: Tensor) -> Tensor:
    """2x2 max-pooling of x [B, C, H, W, T]."""
    return from_groups(torch.max_pool2d(as_groups(x), 2), x.shape[-1])
