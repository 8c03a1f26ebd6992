"""Equal to conv, norm_relu and pooling, block by block; faster because first derivatives need one function for all.

Most passes need no second derivatives: those over query images, all passes of first-order algorithms and of
evaluation, and those of a body that is not adapted. For these all blocks are one autograd function, which avoids the
overhead of each layer and masks gradients in place. The first block uses the patch kernel where it applies.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from metalearn.kernels import patches
from metalearn.kernels.conv import by_input, by_weight, conv, convolve
from metalearn.kernels.layout import as_groups, from_groups, pooled, shaped_as, stack
from metalearn.kernels.norm_relu import norm_gradient, norm_relu, normalized

Layer = tuple[Tensor, Tensor, Tensor]  # kernel, gamma and beta

_pool = torch.ops.aten.max_pool2d_with_indices
_pool_backward = torch.ops.aten.max_pool2d_with_indices_backward
_masked = torch.ops.aten.threshold_backward.grad_input
_WINDOW = [2, 2], [2, 2], [0, 0], [1, 1], False  # size, stride, padding, dilation, ceil_mode


def blocks(x: Tensor, layers: list[Layer], stride: int, pool: bool, eps: float, second_order: bool) -> Tensor:
    """`conv`, `norm_relu` and, with `pool`, `pooled` layer by layer.

    Args:
        x: images [T, B, C, H, W].
        layers: weights, [T, ...] or shared by all tasks.
        second_order: True if second derivatives may be asked for.

    Returns:
        [B, C, H', W', T].

    Raises:
        RuntimeError: without `second_order`, in a backward pass with create_graph=True.
    """
    below = None
    kernel, gamma, beta = layers[0]
    if patches.applies(x, kernel):
        x = patches.patches(x, kernel.shape[-1], stride)
        below, layers = patches.as_matrix(x, kernel, gamma, beta, eps), layers[1:]
    else:
        x = stack(x)
    if not second_order:
        weights = [weight for layer in layers for weight in layer]
        y: Tensor = _Blocks.apply(x, below, stride, pool, eps, torch.is_grad_enabled(), *weights)
        return y
    if below is not None:
        x = patches.block(x, below)
        x = pooled(x) if pool else x
    for kernel, gamma, beta in layers:
        x = norm_relu(conv(x, kernel, stride), gamma, beta, eps)
        x = pooled(x) if pool else x
    return x


class _Blocks(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, below: Tensor | None, stride: int, pool: bool, eps: float, keep: bool, *weights: Tensor
    ) -> Tensor:
        kept: list[Tensor] = []
        if below is not None:  # x are patches
            y = patches.product(x, below).relu_()
            out, where = _pooled(y, pool)
            kept += [x, y, *where] if keep else []
            x = out
        for kernel, gamma, beta in zip(*[iter(weights)] * 3, strict=True):
            z = convolve(x, kernel, stride)
            y, mean, inverse = normalized(z, gamma, beta, eps)
            out, where = _pooled(y, pool)
            kept += [x, kernel, gamma, z, mean, inverse, y, *where] if keep else []
            x = out
        ctx.save_for_backward(*kept)
        ctx.stride, ctx.pool, ctx.eps = stride, pool, eps
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        if torch.is_grad_enabled():  # autograd would cut the graph here, and the missing parts would be zeros
            raise RuntimeError("this forward pass was not made inside differentiated_twice(True): no create_graph=True")
        grad, kept, of_below = grads[0], list(ctx.saved_tensors), None
        by_x, by_below, *asked = (ctx.needs_input_grad[i] for i in (0, 1, *range(6, len(ctx.needs_input_grad), 3)))
        gradients: list[Tensor | None] = []
        for i in reversed(range(len(asked))):
            g = _behind(grad, kept, ctx.pool, made_here=i < len(asked) - 1)
            x, kernel, gamma, z, mean, inverse = kept[-6:]
            del kept[-6:]
            gx, gw, gb = norm_gradient(g, z, gamma, mean, inverse, ctx.eps)
            of_kernel = by_weight(x, gx, ctx.stride, kernel.shape) if asked[i] else None
            gradients = [of_kernel, shaped_as(gw, gamma), shaped_as(gb, gamma), *gradients]
            grad = by_input(gx, kernel, ctx.stride, x.shape) if i or by_x or by_below else None
        if by_below:
            g = _behind(grad, kept, ctx.pool, made_here=bool(asked))
            of_below, grad = patches.gradient(kept.pop(), from_groups(g, grad.shape[-1])), None
        return grad, of_below, None, None, None, None, *gradients


def _pooled(y: Tensor, pool: bool) -> tuple[Tensor, list[Tensor]]:
    """Max-pool y with `pool`; return it and, if pooled, where its maxima lie."""
    if not pool:
        return y, []
    maxima, where = _pool(as_groups(y), *_WINDOW)
    return from_groups(maxima, y.shape[-1]), [where]


def _behind(grad: Tensor, kept: list[Tensor], pool: bool, made_here: bool) -> Tensor:
    """The gradient at the input of a ReLU, [B, T*C, H, W], in memory that was made here."""
    where = kept.pop() if pool else None
    g, y = as_groups(grad), as_groups(kept.pop())
    g = g if where is None else _pool_backward(g, y, *_WINDOW, where)
    masked: Tensor = _masked(g, y, 0, grad_input=g if made_here or pool else torch.empty_like(y))
    return masked
