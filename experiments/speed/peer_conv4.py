"""Conv4 in plain torch, for peers that must not import this project: the same layers and names of weights."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Body(nn.Module):
    """Four blocks of 3x3 convolution with stride 2, batch norm by the statistics of the batch, and ReLU.

    Args:
        channels: of the images.
        filters: of each block.
        norm: makes a batch norm for a number of channels.
    """

    def __init__(self, channels: int, filters: int, norm: Callable[[int], nn.Module]):
        super().__init__()
        sizes = [channels, filters, filters, filters]
        self.convs = nn.ModuleList(nn.Conv2d(size, filters, 3, 2, padding=1, bias=False) for size in sizes)
        self.norms = nn.ModuleList(norm(filters) for _ in sizes)

    def forward(self, x: Tensor, **given: object) -> Tensor:
        """Images [B, C, H, W] to features [B, F]; further arguments go to the norms."""
        for convolve, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(convolve(x), **given))
        return x.flatten(1)


class Head(nn.Linear):
    """A linear layer that ignores further arguments."""

    def forward(self, x: Tensor, **given: object) -> Tensor:
        """Features [B, F] to class scores."""
        return super().forward(x)


def parts(weights: dict[str, Tensor], norm: Callable[[int], nn.Module]) -> tuple[Body, Head]:
    """A body and a head with given weights."""
    filters, channels = weights["convs.0.weight"].shape[:2]
    body, head = Body(channels, filters, norm), Head(*reversed(weights["head.weight"].shape))
    own = {name: value for name, value in weights.items() if not name.startswith("head.")}
    body.to(weights["head.weight"].dtype).load_state_dict(own)
    head.to(weights["head.weight"].dtype).load_state_dict({n: weights[f"head.{n}"] for n in ("weight", "bias")})
    return body, head


def plain_norm(channels: int) -> nn.Module:
    """Torch's own batch norm without running statistics."""
    return nn.BatchNorm2d(channels, track_running_stats=False)


def as_tensors(arrays: dict[str, object]) -> dict[str, Tensor]:
    """Arrays as tensors."""
    return {name: torch.as_tensor(value) for name, value in arrays.items()}
