"""Gradients of a sum over tasks."""

from collections.abc import Iterable

import torch
from torch import Tensor


def gradients(value: Tensor, weights: list[Tensor], create_graph: bool = False) -> list[Tensor]:
    """The gradient of a scalar by each weight; zeros where it does not depend on a weight, such as an unused head."""
    return list(torch.autograd.grad(value, weights, create_graph=create_graph, materialize_grads=True))


def leaves(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Detach tensors and require gradients for them."""
    return [t.detach().requires_grad_() for t in tensors]
