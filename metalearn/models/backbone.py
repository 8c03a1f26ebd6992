"""A convolutional network built from settings: blocks of convolution, normalization, activation and downsampling."""

import math
from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from metalearn.config.checks import at_least
from metalearn.models.head import zero_linear

Downsampling = Literal["stride", "max", "average", "none"]
Normalization = Literal["batch", "layer", "group", "none"]
Activation = Literal["relu", "leaky_relu", "elu", "selu", "gelu"]
Initialization = Literal["he", "glorot", "lecun"]
MOST = 100  # blocks
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.1),
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
}
POOLINGS: dict[str, Callable[[], nn.Module]] = {
    "max": lambda: nn.MaxPool2d(2),
    "average": lambda: nn.AvgPool2d(2),
    "stride": nn.Identity,
    "none": nn.Identity,
}
INITIALIZATIONS: dict[str, Callable[[Tensor], object]] = {
    "he": nn.init.kaiming_normal_,  # He et al., ICCV 2015: variance 2 / inputs
    "glorot": nn.init.xavier_normal_,  # Glorot & Bengio, AISTATS 2010: variance 2 / (inputs + outputs)
    "lecun": lambda w: nn.init.normal_(w, std=w[0].numel() ** -0.5),  # LeCun et al., 1998: variance 1 / inputs
}


class Block(nn.Module):
    """Convolution, normalization, the sum with a shortcut, activation, pooling and dropout.

    The shortcut is the identity where shapes agree, else a 1x1 convolution with normalization (He et al., CVPR 2016).
    """

    def __init__(self, channels: int, width: int, settings: "Backbone"):
        super().__init__()
        stride = 2 if settings.downsampling == "stride" else 1
        self.conv, self.norm = self._layer(channels, width, settings.kernel, stride, settings)
        self.residual = settings.residual
        if self.residual and (channels != width or stride == 2):
            self.shortcut: nn.Module = nn.Sequential(*self._layer(channels, width, 1, stride, settings))
        else:
            self.shortcut = nn.Identity()
        self.activation = ACTIVATIONS[settings.activation]()
        self.pool = POOLINGS[settings.downsampling]()
        self.drop = nn.Dropout(settings.dropout) if settings.dropout else nn.Identity()

    @staticmethod
    def _layer(
        channels: int, width: int, kernel: int, stride: int, settings: "Backbone"
    ) -> tuple[nn.Conv2d, nn.Module]:
        """A convolution and its normalization, which makes a bias superfluous."""
        bias = settings.normalization == "none"
        conv = nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=bias)
        INITIALIZATIONS[settings.initialization](conv.weight)
        if bias:
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        return conv, settings.make_norm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, C, H, W] to [B, width, H', W']."""
        y = self.norm(self.conv(x))
        if self.residual:
            y = y + self.shortcut(x)
        made: Tensor = self.drop(self.pool(self.activation(y)))
        return made


class Backbone(nn.Module):
    """A convolutional network with a linear head, built from settings.

    With depth=4, kernel=3, downsampling=stride, normalization=batch and activation=relu it computes what
    metalearn.models.conv4.Conv4 does (Vinyals et al., NeurIPS 2016); only the names of the parameters differ.

    Args:
        shape: of one image, (C, H, W).
        outputs: number of ways.
        depth: number of blocks.
        width: channels of each block, as one number or a list.
        kernel: side of the convolutions, an odd number.
        downsampling: of each block: `stride` 2, 2x2 `max` or `average` pooling, or `none`.
        normalization: `batch`; `layer`, over all values of an image; `group`, over groups of channels of an image (Wu &
            He, ECCV 2018); `none`.
        groups: groups of channels of `group`.
        activation: `relu`, `leaky_relu` (slope 0.1), `elu`, `selu` or `gelu`.
        initialization: of the convolutions, normal: `he`, `glorot` or `lecun`.
        residual: add the input of each block to its convolution, as it is or through a 1x1 convolution.
        dropout: rate behind each block.
        pooling: `mean` over the positions of the last map, or `flatten`.

    Raises:
        ValueError: a setting is out of its range, or the inputs are not images, or too small ones.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        outputs: int,
        depth: int,
        width: int | list[int],
        kernel: int,
        downsampling: Downsampling,
        normalization: Normalization,
        groups: int,
        activation: Activation,
        initialization: Initialization,
        residual: bool,
        dropout: float,
        pooling: Literal["mean", "flatten"],
    ):
        super().__init__()
        at_least(1, depth=depth, kernel=kernel, groups=groups)
        widths = [width] * depth if isinstance(width, int) else list(width)
        if len(shape) != 3:
            raise ValueError(f"backbone needs images, and the data are of shape {tuple(shape)}: set model=mlp")
        if depth > MOST:
            raise ValueError(f"depth={depth}: must be at most {MOST}")
        if len(widths) != depth or min(widths) < 1:
            raise ValueError(f"width={width}: must be one number, or {depth} of them, one for each block; at least 1")
        if kernel % 2 == 0:
            raise ValueError(f"kernel={kernel}: must be odd")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout}: must be at least 0 and below 1")
        if normalization == "group" and (wrong := [w for w in widths if w % groups]):
            raise ValueError(f"groups={groups}: does not divide the width {wrong[0]}")
        self.kernel, self.downsampling, self.normalization, self.groups = kernel, downsampling, normalization, groups
        self.activation, self.initialization, self.residual = activation, initialization, residual
        self.dropout, self.pooling = dropout, pooling
        size = [self._size(n, depth) for n in shape[1:]]
        if min(size) < 1:
            raise ValueError(f"depth={depth}: images of {shape[1]}x{shape[2]} are too small to be halved so often")
        self.blocks = nn.Sequential(*(Block(a, b, self) for a, b in zip([shape[0], *widths], widths, strict=False)))
        self.head = zero_linear(widths[-1] * (math.prod(size) if pooling == "flatten" else 1), outputs)

    def make_norm(self, width: int) -> nn.Module:
        """Make the normalization of a convolution."""
        if self.normalization == "batch":
            return nn.BatchNorm2d(width)
        groups = {"layer": 1, "group": self.groups}.get(self.normalization)
        return nn.GroupNorm(groups, width) if groups else nn.Identity()

    def _size(self, n: int, depth: int) -> int:
        """The side of the last map."""
        for _ in range(depth):
            n = {"stride": (n + 1) // 2, "none": n}.get(self.downsampling, n // 2)
        return n

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] to class scores [B, outputs]."""
        x = self.blocks(x)
        scores: Tensor = self.head(x.mean((2, 3)) if self.pooling == "mean" else x.flatten(1))
        return scores
