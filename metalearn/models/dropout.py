"""Dropout whose masks can be drawn again."""

import torch
from torch import Tensor, nn

from metalearn.kernels.task_tensor import TaskTensor
from metalearn.models.norm import current_context


class Dropout(nn.Module):
    """Dropout (Srivastava et al., JMLR 2014) with the masks of the present pass; without masks, the identity.

    Args:
        p: probability that a value is set to 0; the others are divided by 1 - p.
        by_channel: drop whole channels of x [B, C, ...].
    """

    def __init__(self, p: float, by_channel: bool = False):
        super().__init__()
        self.p, self.by_channel = p, by_channel

    def forward(self, x: Tensor) -> Tensor:
        """Drop values of x [B, ...]."""
        masks = current_context().masks
        if masks is None or self.p == 0:
            return x
        shape = torch.Size([*x.shape[:2], *[1] * (x.ndim - 2)]) if self.by_channel else x.shape
        if self.p == 1:
            return torch.zeros_like(x)
        mask = masks.draw(shape, self.p)
        kept = TaskTensor(mask, 0) if isinstance(x, TaskTensor) else mask
        return x * kept.to(x.dtype) / (1 - self.p)
