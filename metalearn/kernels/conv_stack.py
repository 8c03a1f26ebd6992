"""Equal to conv, norm_act and pooling, block by block; faster as one function where first derivatives are enough.

Most passes need no second derivatives: those over query images, all passes of first-order algorithms and of
evaluation, and those of a body that is not adapted. For these all blocks are one autograd function, which avoids the
overhead of each layer and masks gradients in place. The first block uses the patch kernel where it applies.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from metalearn.kernels import patches
from metalearn.kernels.conv import Geometry, by_input, by_weight, conv, convolve
from metalearn.kernels.layout import as_groups, from_groups, pooled, shaped_as, stack
from metalearn.kernels.norm_act import activate_, activation_gradient, norm_act, norm_gradient, normalized


class How(NamedTuple):
    """The settings of a block: convolution, batch norm, activation and, with `pool`, 2x2 max-pooling."""

    geometry: Geometry
    eps: float
    slope: float
    pool: bool


class Block(NamedTuple):
    """A block and its weights, each [T, ...] or shared by all tasks."""

    kernel: Tensor
    gamma: Tensor
    beta: Tensor
    how: How


_pool = torch.ops.aten.max_pool2d_with_indices
_pool_backward = torch.ops.aten.max_pool2d_with_indices_backward
_WINDOW = [2, 2], [2, 2], [0, 0], [1, 1], False  # size, stride, padding, dilation, ceil_mode


def run(x: Tensor, blocks: list[Block], second_order: bool) -> Tensor:
    """Apply `conv`, `norm_act` and `pooled` block by block.

    Args:
        x: images [T, B, C, H, W].
        second_order: True if second derivatives may be asked for.

    Returns:
        [B, C, H', W', T].

    Raises:
        RuntimeError: without `second_order`, in a backward pass with create_graph=True.
    """
    below, (kernel, gamma, beta, how) = None, blocks[0]
    if patches.applies(x, kernel, how.geometry):
        x = patches.patches(x, kernel.shape[-2:], how.geometry)
        below = patches.as_matrix(x, kernel, gamma, beta, how.eps)
    else:
        x = stack(x)
    if not second_order:
        weights = [weight for block in blocks[below is not None :] for weight in block[:3]]
        y: Tensor = _Blocks.apply(x, below, [block.how for block in blocks], torch.is_grad_enabled(), *weights)
        return y
    if below is not None:
        x = patches.block(x, below, how.slope)
        x = pooled(x) if how.pool else x
    for kernel, gamma, beta, how in blocks[below is not None :]:
        x = norm_act(conv(x, kernel, how.geometry), gamma, beta, how.eps, how.slope)
        x = pooled(x) if how.pool else x
    return x


class _Blocks(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, below: Tensor | None, hows: list[How], keep: bool, *weights: Tensor) -> Tensor:
        kept: list[Tensor] = []
        if below is not None:  # x are patches
            y = activate_(patches.product(x, below), hows[0].slope)
            out, where = _pooled(y, hows[0].pool)
            kept += [x, y, *where] if keep else []
            x = out
        layers = zip(*[iter(weights)] * 3, hows[below is not None :], strict=True)
        for kernel, gamma, beta, how in layers:
            z = convolve(x, kernel, how.geometry)
            y, mean, inverse = normalized(z, gamma, beta, how.eps, how.slope)
            out, where = _pooled(y, how.pool)
            kept += [x, kernel, gamma, z, mean, inverse, y, *where] if keep else []
            x = out
        ctx.save_for_backward(*kept)
        ctx.hows = hows
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        if torch.is_grad_enabled():  # autograd would cut the graph here, and the missing parts would be zeros
            raise RuntimeError(
                "this forward pass was not made inside differentiated_twice(True): leave out create_graph=True"
            )
        grad, kept, of_below = grads[0], list(ctx.saved_tensors), None
        by_x, by_below, *asked = (ctx.needs_input_grad[i] for i in (0, 1, *range(4, len(ctx.needs_input_grad), 3)))
        hows = ctx.hows[len(ctx.hows) - len(asked) :]
        gradients: list[Tensor | None] = []
        for i in reversed(range(len(asked))):
            how = hows[i]
            g = _behind(grad, kept, how, made_here=i < len(asked) - 1)
            x, kernel, gamma, z, mean, inverse = kept[-6:]
            del kept[-6:]
            gx, gw, gb = norm_gradient(g, z, gamma, mean, inverse, how.eps)
            of_kernel = by_weight(x, gx, how.geometry, kernel.shape) if asked[i] else None
            gradients = [of_kernel, shaped_as(gw, gamma), shaped_as(gb, gamma), *gradients]
            grad = by_input(gx, kernel, how.geometry, x.shape) if i or by_x or by_below else None
        if by_below:
            g = _behind(grad, kept, ctx.hows[0], made_here=bool(asked))
            of_below, grad = patches.gradient(kept.pop(), from_groups(g, grad.shape[-1])), None
        return grad, of_below, None, None, *gradients


def _pooled(y: Tensor, pool: bool) -> tuple[Tensor, list[Tensor]]:
    """Max-pool y with `pool`; return it and, if pooled, where its maxima lie."""
    if not pool:
        return y, []
    maxima, where = _pool(as_groups(y), *_WINDOW)
    return from_groups(maxima, y.shape[-1]), [where]


def _behind(grad: Tensor, kept: list[Tensor], how: How, made_here: bool) -> Tensor:
    """Take a gradient back through a block's pooling and activation: [B, T*C, H, W].

    Args:
        grad: at the output of the block.
        kept: the saved tensors; those of the pooling and the activation, the last ones, are removed.
        how: the settings of the block.
        made_here: True if `grad` was made in this backward pass and may be overwritten.
    """
    where = kept.pop() if how.pool else None
    g, y = as_groups(grad), as_groups(kept.pop())
    g = g if where is None else _pool_backward(g, y, *_WINDOW, where)
    return activation_gradient(g, y, how.slope, out=g if made_here or how.pool else None)
