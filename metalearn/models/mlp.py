"""A multi-layer perceptron: the network of MAML's sinusoid regression."""

import itertools
import math

import torch.nn.functional as F
from torch import Tensor, nn


class MLP(nn.Module):
    """Hidden layers with ReLU and a linear head, without normalization (Finn et al., ICML 2017, 5.1: two of 40).

    Args:
        shape: of one input; flattened.
        outputs: number of ways, or dimension of the regression target.
        hidden: width of each hidden layer.

    Raises:
        ValueError: `hidden` is empty, or a width is below 1.
    """

    def __init__(self, *, shape: tuple[int, ...], outputs: int, hidden: list[int]):
        super().__init__()
        if not hidden or min(hidden) < 1:
            raise ValueError(f"hidden={list(hidden)}: must be one or more widths of at least 1")
        sizes = [math.prod(shape), *hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.head = nn.Linear(sizes[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs [B, ...] to outputs [B, outputs]."""
        x = x.flatten(1)
        for layer in self.layers:
            x = F.relu(layer(x))
        made: Tensor = self.head(x)
        return made
