"""The four-block convolutional network of the few-shot literature."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from metalearn.config.checks import at_least
from metalearn.models.head import zero_linear


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, batch norm, ReLU and downsampling; then a linear head.

    Vinyals et al., "Matching networks", NeurIPS 2016, 4.1. Finn et al., "Model-agnostic meta-learning", ICML 2017, 5.2,
    use strides without pooling, and a spatial mean before the head.

    Args:
        shape: of one image, (C, H, W).
        outputs: number of ways.
        filters: channels of each block (64 in the papers; 32 in Finn et al. for miniImageNet).
        downsampling: `stride` (stride 2, padding 1) or `max_pool` (2x2 after the ReLU).
        pooling: `mean` over the positions of the last map, or `flatten`.

    Raises:
        ValueError: a setting is out of its range, or the inputs are not images, or too small ones.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        filters: int,
        downsampling: Literal["stride", "max_pool"],
        pooling: Literal["mean", "flatten"],
    ):
        super().__init__()
        at_least(1, filters=filters)
        if len(shape) != 3:
            raise ValueError(f"conv4 needs images, and the data are of shape {tuple(shape)}: set model=mlp")
        channels, height, width = shape
        size = f"{height}x{width}"
        self.downsampling, self.pooling = downsampling, pooling
        stride = 2 if downsampling == "stride" else 1
        self.convs = nn.ModuleList()
        self.norms = nn.ModuleList()
        for _ in range(4):
            # No bias: batch norm subtracts it, so its gradient is rounding noise, which Adam would amplify
            conv = nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False)
            nn.init.kaiming_normal_(conv.weight)
            self.convs.append(conv)
            self.norms.append(nn.BatchNorm2d(filters))
            channels = filters
            height, width = ((n + 1) // 2 if downsampling == "stride" else n // 2 for n in (height, width))
        if min(height, width) < 1:
            raise ValueError(f"images of {size} are too small to be halved four times")
        self.head = zero_linear(filters * (height * width if pooling == "flatten" else 1), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] to class scores [B, outputs]."""
        for convolve, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(convolve(x)))
            if self.downsampling == "max_pool":
                x = F.max_pool2d(x, 2)
        scores: Tensor = self.head(x.mean((2, 3)) if self.pooling == "mean" else x.flatten(1))
        return scores
