"""DropBlock whose masks can be drawn again."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metalearn.kernels.task_tensor import TaskTensor
from metalearn.models.norm import current_context


class DropBlock(nn.Module):
    """Drop squares of feature maps, with the masks of the present pass; without masks, the identity.

    Ghiasi, Lin & Le, "DropBlock: A regularization method for convolutional networks", NeurIPS 2018 (arxiv.org/abs/
    1810.12890), algorithm 1 and equation 1, with a mask for each channel and a constant rate.

    Args:
        p: the share of values that is dropped, approximately.
        size: side of a square; no more than that of the map.
    """

    def __init__(self, p: float, size: int):
        super().__init__()
        self.p, self.size = p, size

    def forward(self, x: Tensor) -> Tensor:
        """Drop squares of x [B, C, H, W], and divide the rest by the share of values that is kept in a task."""
        masks = current_context().masks
        if masks is None or self.p == 0:
            return x
        height, width = x.shape[2:]
        size = min(self.size, height, width)
        places = (height - size + 1, width - size + 1)
        rate = self.p / size**2 * height * width / (places[0] * places[1])  # equation 1
        corners = ~masks.draw(torch.Size([*x.shape[:2], *places]), min(rate, 1.0))  # [B, C, ...] or [T, B, C, ...]
        padded = F.pad(corners.flatten(0, -4).to(x.dtype), [size - 1] * 4)
        kept = (1 - F.max_pool2d(padded, size, stride=1)).unflatten(0, corners.shape[:-3])
        kept = kept / kept.mean((-4, -3, -2, -1), keepdim=True).clamp(min=1e-6)
        return x * (TaskTensor(kept, 0) if isinstance(x, TaskTensor) else kept)
