"""Blocks of convolution, batch norm and ReLU as one function that can be differentiated once.

Most passes need no more: those over query images, all passes of first-order algorithms and of evaluation, and those of
a body that is not adapted. This is for those among them in which batch norm takes the statistics of all images. What
autograd does layer by layer is left out, and gradients are masked where they lie.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from metalearn.models.grouped import (
    as_groups,
    by_input,
    by_weight,
    convolve,
    from_groups,
    norm_gradient,
    normalised,
    shaped_as,
)

_pool = torch.ops.aten.max_pool2d_with_indices
_pool_backward = torch.ops.aten.max_pool2d_with_indices_backward
_masked = torch.ops.aten.threshold_backward.grad_input
_WINDOW = [2, 2], [2, 2], [0, 0], [1, 1], False  # size, stride, padding, dilation, ceil_mode


def blocks(x: Tensor, weights: list[Tensor], stride: int, pool: bool, eps: float) -> Tensor:
    """`conv`, `norm_relu` and, with `pool`, 2x2 max-pooling (metalearn.models.grouped), for each three weights.

    Args:
        x: [B, C, H, W, T].
        weights: kernel, gamma and beta of each block in turn.

    Raises:
        RuntimeError: in a backward pass with create_graph=True.
    """
    y: Tensor = _Blocks.apply(x, stride, pool, eps, torch.is_grad_enabled(), *weights)
    return y


class _Blocks(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int, pool: bool, eps: float, keep: bool, *weights: Tensor) -> Tensor:
        kept, tasks = [], x.shape[-1]
        for kernel, gamma, beta in zip(*[iter(weights)] * 3, strict=True):
            z = convolve(x, kernel, stride)
            y, mean, inverse = normalised(z, gamma, beta, eps)
            block = [x, kernel, gamma, z, y, mean, inverse]
            if pool:
                pooled, where = _pool(as_groups(y), *_WINDOW)
                x, block = from_groups(pooled, tasks), [*block, where]
            else:
                x = y
            kept += block if keep else []
        ctx.save_for_backward(*kept)
        ctx.stride, ctx.pool, ctx.eps = stride, pool, eps
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        if torch.is_grad_enabled():  # autograd would cut the graph here without a word, and what it lacks be zeros
            raise RuntimeError("a forward pass with twice=False cannot be differentiated with create_graph=True")
        grad, kept, size = grads[0], ctx.saved_tensors, 8 if ctx.pool else 7
        gradients: list[Tensor | None] = []
        for at in reversed(range(0, len(kept), size)):
            x, kernel, gamma, z, y, mean, inverse = kept[at : at + 7]
            asked = ctx.needs_input_grad[5 + at // size * 3]
            g, groups = as_groups(grad), as_groups(y)
            if ctx.pool:
                g = _pool_backward(g, groups, *_WINDOW, kept[at + 7])
            made_here = ctx.pool or at + size < len(kept)
            g = _masked(g, groups, 0, grad_input=g if made_here else torch.empty_like(groups))
            gx, gw, gb = norm_gradient(g, z, gamma, mean, inverse, ctx.eps)
            of_kernel = by_weight(x, gx, ctx.stride, kernel.shape) if asked else None
            gradients = [of_kernel, shaped_as(gw, gamma), shaped_as(gb, gamma), *gradients]
            grad = by_input(gx, kernel, ctx.stride, x.shape) if at or ctx.needs_input_grad[0] else None
        return grad, None, None, None, None, *gradients
