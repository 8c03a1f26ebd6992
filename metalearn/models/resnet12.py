"""The residual network of twelve layers of the few-shot literature."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from metalearn.config.checks import at_least
from metalearn.models.dropblock import DropBlock
from metalearn.models.head import zero_linear

SLOPE = 0.1  # of leaky ReLU


class ResidualBlock(nn.Module):
    """Three 3x3 convolutions and a 1x1 shortcut, each with batch norm; then leaky ReLU and 2x2 max-pooling."""

    def __init__(self, channels: int, width: int, drop: nn.Module):
        super().__init__()
        self.conv1, self.norm1 = _conv(channels, width, 3), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = _conv(width, width, 3), nn.BatchNorm2d(width)
        self.conv3, self.norm3 = _conv(width, width, 3), nn.BatchNorm2d(width)
        self.shortcut, self.norm4 = _conv(channels, width, 1), nn.BatchNorm2d(width)
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, C, H, W] to [B, width, H // 2, W // 2]."""
        y = F.leaky_relu(self.norm1(self.conv1(x)), SLOPE)
        y = F.leaky_relu(self.norm2(self.conv2(y)), SLOPE)
        y = self.norm3(self.conv3(y)) + self.norm4(self.shortcut(x))
        made: Tensor = self.drop(F.max_pool2d(F.leaky_relu(y, SLOPE), 2))
        return made


class ResNet12(nn.Module):
    """Four residual blocks and a linear head.

    Oreshkin et al., "TADAM", NeurIPS 2018. As in the code of Lee et al., "Meta-learning with differentiable convex
    optimization" (MetaOptNet), CVPR 2019, and of Tian et al., "Rethinking few-shot image classification", ECCV 2020:
    widths 64, 160, 320 and 640, leaky ReLU of slope 0.1, DropBlock behind the last two blocks. Their rate of DropBlock
    grows during training; here it is constant.

    Args:
        shape: of one image, (C, H, W).
        outputs: number of ways.
        width: channels of each of the four blocks.
        drop: rate of dropout behind the first two blocks and of DropBlock behind the last two; 0.1 in the papers.
        block_size: side of the squares of DropBlock.
        pooling: `mean` over the positions of the last map, or `flatten`.

    Raises:
        ValueError: a setting is out of its range, or the inputs are not images, or too small ones.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        width: list[int],
        drop: float,
        block_size: int,
        pooling: Literal["mean", "flatten"],
    ):
        super().__init__()
        if len(shape) != 3:
            raise ValueError(f"resnet12 needs images, and the data are of shape {tuple(shape)}: set model=mlp")
        if len(width) != 4 or min(width) < 1:
            raise ValueError(f"width={list(width)}: must be four numbers of at least 1")
        if not 0 <= drop < 1:
            raise ValueError(f"drop={drop}: must be at least 0 and below 1")
        at_least(1, block_size=block_size)
        if min(shape[1:]) < 16:
            raise ValueError(f"images of {shape[1]}x{shape[2]} are too small to be halved four times")
        drops = [nn.Dropout(drop), nn.Dropout(drop), DropBlock(drop, block_size), DropBlock(drop, block_size)]
        self.blocks = nn.Sequential(*map(ResidualBlock, [shape[0], *width[:3]], width, drops))
        self.pooling = pooling
        positions = (shape[1] // 16) * (shape[2] // 16)
        self.head = zero_linear(width[3] * (positions if pooling == "flatten" else 1), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] to class scores [B, outputs]."""
        x = self.blocks(x)
        scores: Tensor = self.head(x.mean((2, 3)) if self.pooling == "mean" else x.flatten(1))
        return scores


def _conv(channels: int, width: int, kernel: int) -> nn.Conv2d:
    """A convolution without a bias, which batch norm would subtract."""
    made = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="leaky_relu")
    return made
