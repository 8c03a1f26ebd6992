"""Equal to leaky_relu(batch_norm(x), slope) with each task's own statistics; faster as one function.

A slope of 0 is ReLU, a slope of 1 no activation. It is tested against torch's batch norm, and by gradcheck and
gradgradcheck.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from metalearn.kernels.layout import as_groups, by_channel, from_groups, shaped_as
from metalearn.kernels.tuning import SERIAL_SUM

_norm_backward = torch.ops.aten.native_batch_norm_backward


def norm_act(x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float) -> Tensor:
    """Batch norm with the statistics of x [B, C, H, W, T] in each channel of each task, and an activation.

    Args:
        weight, bias: [T, C], or [C] where the tasks share them.
        slope: of the activation below 0.

    Twice differentiable: a gradient, and the gradient of a function of that gradient.
    """
    y: Tensor = _NormAct.apply(x, weight, bias, eps, slope)
    return y


class _NormAct(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float) -> Tensor:
        y, mean, inverse = normalized(x, weight, bias, eps, slope)
        ctx.save_for_backward(x, weight, y, mean, inverse)
        ctx.eps, ctx.slope = eps, slope
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return *_NormActGrad.apply(grads[0], *ctx.saved_tensors, ctx.eps, ctx.slope), None, None


class _NormActGrad(Function):
    """The gradients of norm_act as a function of the output's gradient, x and weight, with its own gradient.

    In each channel of n values, with h = (x - mean) s, s = 1 / sqrt(variance + eps), and g the gradient behind
    the activation:

    (1) gx = w s (g - sum(g)/n - h sum(g h)/n)
    (2) gw = sum(g h)
    (3) gb = sum(g)

    Given u, a and b, `backward` differentiates <u, gx> + <a, gw> + <b, gb>:

    (4) by g: w s (u - sum(u)/n - h sum(u h)/n) + a h + b
    (5) by w: s p, with p = sum(u g) - (sum(g) sum(u) + sum(g h) sum(u h)) / n
    (6) by x: s (c_g g + c_u u + c_h h + c_1), with c_g = a - w s sum(u h)/n, c_u = -w s sum(g h)/n,
        c_1 = -(c_g sum(g) + c_u sum(u)) / n, c_h = -(c_g sum(g h) + c_u sum(u h)) / n - w s p / n
    """

    @staticmethod
    def forward(
        ctx: Any,
        grad: Tensor,
        x: Tensor,
        weight: Tensor,
        y: Tensor,
        mean: Tensor,
        inverse: Tensor,
        eps: float,
        slope: float,
    ) -> tuple[Tensor, ...]:
        g = activation_gradient(as_groups(grad), as_groups(y), slope)
        gx, gw, gb = norm_gradient(g, x, weight, mean, inverse, eps)
        ctx.save_for_backward(g, x, weight, y, mean, inverse, gw, gb)
        ctx.eps, ctx.slope = eps, slope
        return gx, shaped_as(gw, weight), shaped_as(gb, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        (g, x, own, y, mean, s, gw, gb), tasks = ctx.saved_tensors, grads[0].shape[-1]
        u, x, y = as_groups(grads[0]), as_groups(x), as_groups(y)
        a, b, weight = (by_channel(v, tasks) for v in (*grads[1:], own))
        n = x.numel() // x.shape[1]
        by_g, sum_uh, sum_u = _norm_backward(u, x, weight, None, None, mean, s, True, ctx.eps, [True] * 3)
        # sum(u g) of each channel in one pass: the weight's gradient with statistics 0 and 1
        zero, one = torch.zeros_like(mean), torch.ones_like(mean)
        sum_ug = _norm_backward(u, g, one, zero, one, zero, one, False, 0.0, [False, True, False])[1]
        p = sum_ug - (gb * sum_u + gw * sum_uh) / n  # (5)

        by_g = by_g.addcmul_(x, _wide(a * s)).add_(_wide(b - a * s * mean))  # (4)
        by_grad = activation_gradient(by_g, y, ctx.slope)

        c_g, c_u = a - weight * s * sum_uh / n, -weight * s * gw / n  # (6)
        c_1 = -(c_g * gb + c_u * sum_u) / n
        c_h = -(c_g * gw + c_u * sum_uh) / n - weight * p * s / n
        by_x = (g * _wide(s * c_g)).addcmul_(u, _wide(s * c_u)).addcmul_(x, _wide(s * s * c_h))
        by_x.add_(_wide(s * (c_1 - s * c_h * mean)))
        return from_groups(by_grad, tasks), from_groups(by_x, tasks), shaped_as(s * p, own), *[None] * 5


def activate_(y: Tensor, slope: float) -> Tensor:
    """Apply the activation in place."""
    if slope == 1:
        return y
    result: Tensor = y.relu_() if slope == 0 else torch.ops.aten.leaky_relu_(y, slope)
    return result


def activation_gradient(grad: Tensor, y: Tensor, slope: float, out: Tensor | None = None) -> Tensor:
    """The gradient at the input of the activation, from that at its output y; in the memory of `out` if it is given."""
    if slope == 1:
        return grad
    out = torch.empty_like(y) if out is None else out
    if slope == 0:
        result: Tensor = torch.ops.aten.threshold_backward.grad_input(grad, y, 0, grad_input=out)
    else:
        result = torch.ops.aten.leaky_relu_backward.grad_input(grad, y, slope, True, grad_input=out)
    return result


def normalized(x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float) -> tuple[Tensor, Tensor, Tensor]:
    """The forward pass of `norm_act` alone, with the mean and 1 / sqrt(variance + eps) of each channel [T*C]."""
    tasks, groups = x.shape[-1], as_groups(x)
    w, b = by_channel(weight, tasks), by_channel(bias, tasks)
    if groups.numel() <= SERIAL_SUM * groups.shape[1]:
        y, mean, inverse = torch.native_batch_norm(groups, w, b, None, None, True, 0.0, eps)
    else:
        mean, variance = _statistics(groups)
        inverse = torch.rsqrt(variance + eps)
        y = torch.native_batch_norm(groups, w, b, mean, variance, False, 0.0, eps)[0]
    return from_groups(activate_(y, slope), tasks), mean, inverse


def norm_gradient(
    g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, and of weight and bias by channel [T*C], for g [B, T*C, H, W] before the activation."""
    tasks, groups = x.shape[-1], as_groups(x)
    w = by_channel(weight, tasks)
    gx, gw, gb = _norm_backward(g, groups, w, None, None, mean, inverse, True, eps, [True] * 3)
    return from_groups(gx, tasks), gw, gb


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel of x [B, G, H, W], channels last.

    PyTorch adds up all values of a channel in turn. In single precision, this leaves the variance 5 digits where a
    channel has 10,000 values. Here the columns of the images count as channels of their own, and are combined last.
    """
    columns = x.permute(0, 2, 3, 1).flatten(2).permute(0, 2, 1)[..., None]  # [B, W*G, H, 1]
    mean, variance = torch.ops.aten.batch_norm_update_stats(columns, None, None, 0.0)
    mean, variance = mean.view(-1, x.shape[1]), variance.view(-1, x.shape[1])
    whole = mean.mean(0)
    return whole, variance.mean(0) + (mean - whole).square().mean(0)


def _wide(v: Tensor) -> Tensor:
    """View [G] for use with [B, G, H, W]."""
    return v[:, None, None]
