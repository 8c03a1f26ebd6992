"""Convolution, batch norm and ReLU over the images of many tasks at once, each task with weights of its own.

Images of T tasks lie as [B, C, H, W, T] in the memory order B, H, W, T, C. The same memory is an ordinary
channels-last batch [B, T*C, H, W], on which a convolution in T groups applies to each task its own weights, and batch
norm, channel by channel, each task its own statistics; and it is a batch of volumes whose third dimension is the task,
over which a kernel of 3x3x1 applies the same weights to every task. Nothing is copied to go from one view to the other.

Convolution is bilinear, and so are its two gradients, so that all derivatives of any order are made of the same three
maps. PyTorch's own second derivative of a grouped convolution goes through the groups one by one.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_convolution_backward = torch.ops.aten.convolution_backward
_norm_backward = torch.ops.aten.native_batch_norm_backward


def stack(x: Tensor) -> Tensor:
    """Images [T, B, C, H, W] as [B, C, H, W, T] in the memory order B, H, W, T, C."""
    return x.permute(1, 3, 4, 0, 2).contiguous().permute(0, 4, 1, 2, 3)


def as_groups(x: Tensor) -> Tensor:
    """[B, C, H, W, T] seen as [B, T*C, H, W], channels last."""
    return x.permute(0, 2, 3, 4, 1).flatten(3).permute(0, 3, 1, 2)


def from_groups(x: Tensor, tasks: int) -> Tensor:
    """[B, T*C, H, W] seen as [B, C, H, W, T]."""
    batch, channels, height, width = x.shape
    return x.permute(0, 2, 3, 1).view(batch, height, width, tasks, channels // tasks).permute(0, 4, 1, 2, 3)


def by_channel(v: Tensor, tasks: int) -> Tensor:
    """Values by channel, [T, C] or shared [C], as [T*C] in memory of their own.

    ATen's kernels take the memory to be contiguous; with one channel, `flatten` of an expanded view has stride 0.
    """
    return v.repeat(tasks) if v.ndim == 1 else v.flatten().contiguous()


def expand(weight: Tensor, tasks: int) -> Tensor:
    """A weight for each of `tasks` tasks, a view [T, ...]; kernels channels last, as their gradients are."""
    if weight.ndim != 4:
        return weight.expand(tasks, *weight.shape)
    last = weight.permute(0, 2, 3, 1).contiguous()
    return last.expand(tasks, *last.shape).permute(0, 1, 4, 2, 3)


def conv(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Convolution of x [B, I, H, W, T] with kernels of odd size k and padding k // 2, differentiable without end.

    Args:
        weight: [T, O, I, k, k], or [O, I, k, k] where the tasks share it. One weight expanded over the tasks (of stride
            0, as before the first inner step) is computed with as one, its gradient being each task's own all the same.

    Returns:
        [B, O, H', W', T].
    """
    y: Tensor = _Conv.apply(x, weight, stride)
    return y


class _Conv(Function):
    """y = x * w."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return convolve(x, weight, stride)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,), (x, weight) = grads, ctx.saved_tensors
        gx = _ConvInput.apply(grad, weight, ctx.stride, x.shape) if ctx.needs_input_grad[0] else None
        gw = _ConvWeight.apply(x, grad, ctx.stride, weight.shape) if ctx.needs_input_grad[1] else None
        return gx, gw, None


class _ConvInput(Function):
    """The gradient of <y, x * w> by x: bilinear in y and w."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, weight: Tensor, stride: int, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(y, weight)
        ctx.stride = stride
        return by_input(y, weight, stride, shape)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,), (y, weight) = grads, ctx.saved_tensors
        gy = _Conv.apply(grad, weight, ctx.stride) if ctx.needs_input_grad[0] else None
        gw = _ConvWeight.apply(grad, y, ctx.stride, weight.shape) if ctx.needs_input_grad[1] else None
        return gy, gw, None, None


class _ConvWeight(Function):
    """The gradient of <y, x * w> by w: bilinear in x and y."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, stride: int, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(x, y)
        ctx.stride = stride
        return by_weight(x, y, stride, shape)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,), (x, y) = grads, ctx.saved_tensors
        gx = _ConvInput.apply(y, grad, ctx.stride, x.shape) if ctx.needs_input_grad[0] else None
        gy = _Conv.apply(x, grad, ctx.stride) if ctx.needs_input_grad[1] else None
        return gx, gy, None, None


def convolve(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """`conv` itself, which autograd knows nothing of."""
    pad, tasks = weight.shape[-1] // 2, x.shape[-1]
    if _is_one(weight, tasks):
        return torch.conv3d(x, _one(weight), None, (stride, stride, 1), (pad, pad, 0))
    return from_groups(torch.conv2d(as_groups(x), _all(weight), None, stride, pad, 1, tasks), tasks)


def by_input(y: Tensor, weight: Tensor, stride: int, shape: torch.Size) -> Tensor:
    """The gradient of <y, x * w> by x of this shape."""
    b, c, h, w, tasks = shape
    blank = y.new_empty(b, h, w, tasks, c).permute(0, 4, 1, 2, 3)  # for its shape alone
    mask = [True, False, False]
    if _is_one(weight, tasks):
        grad: Tensor = _convolution_backward(y, blank, _one(weight), None, *_volumes(stride, weight), mask)[0]
        return grad
    how = _groups(stride, weight.shape[-1], tasks)
    return from_groups(_convolution_backward(as_groups(y), as_groups(blank), _all(weight), None, *how, mask)[0], tasks)


def by_weight(x: Tensor, y: Tensor, stride: int, shape: torch.Size) -> Tensor:
    """The gradient of <y, x * w> by w of this shape, of each task, or summed over those that share it."""
    mask, tasks = [False, True, False], x.shape[-1]
    if len(shape) == 5 or tasks == 1:
        blank = x.new_empty(tasks * shape[-4], *shape[-2:], shape[-3]).permute(0, 3, 1, 2)
        how = _groups(stride, shape[-1], tasks)
        grad: Tensor = _convolution_backward(as_groups(y), as_groups(x), blank, None, *how, mask)[1]
        return grad if len(shape) == 4 else grad.unflatten(0, (tasks, -1))
    blank = x.new_empty(shape)
    if shape[1] >= 64 and y.shape[3] >= 7:  # here PyTorch's kernel for images is the faster one (CPU), copies and all
        y, x = (v.permute(4, 0, 2, 3, 1).flatten(0, 1).contiguous().permute(0, 3, 1, 2) for v in (y, x))
        grad = _convolution_backward(y, x, blank, None, *_groups(stride, shape[-1], 1), mask)[1]
        return grad
    volume: Tensor = _convolution_backward(y, x, blank[..., None], None, *_volumes(stride, blank), mask)[1]
    return volume[..., 0]


def _is_one(weight: Tensor, tasks: int) -> bool:
    """Whether several tasks have the same weight in the same memory."""
    return tasks > 1 and (weight.ndim == 4 or weight.stride(0) == 0)


def _one(weight: Tensor) -> Tensor:
    """That weight as a kernel over volumes: [O, I, k, k, 1]."""
    return (weight if weight.ndim == 4 else weight[0])[..., None]


def _all(weight: Tensor) -> Tensor:
    """The weights of all tasks, as of one grouped convolution: [T*O, I, k, k]."""
    return weight if weight.ndim == 4 else weight.flatten(0, 1)


def _volumes(stride: int, weight: Tensor) -> tuple[Any, ...]:
    """stride, padding, dilation, transposed, output padding and groups of a convolution over volumes."""
    pad = weight.shape[-1] // 2
    return [stride, stride, 1], [pad, pad, 0], [1, 1, 1], False, [0, 0, 0], 1


def _groups(stride: int, kernel: int, tasks: int) -> tuple[Any, ...]:
    """The same of a grouped one."""
    return [stride] * 2, [kernel // 2] * 2, [1, 1], False, [0, 0], tasks


def norm_relu(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """ReLU of batch norm, with the statistics of x [B, C, H, W, T] in each channel of each task.

    Args:
        weight, bias: [T, C], or [C] where the tasks share them.

    Twice differentiable: a gradient, and the gradient of a function of that gradient.
    """
    y: Tensor = _NormReLU.apply(x, weight, bias, eps)
    return y


class _NormReLU(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        y, mean, inverse = normalised(x, weight, bias, eps)
        ctx.save_for_backward(x, weight, y, mean, inverse)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return *_NormReLUGrad.apply(grads[0], *ctx.saved_tensors, ctx.eps), None


class _NormReLUGrad(Function):
    """The gradients of norm_relu as a function of the output's gradient, x and weight, with its own gradient.

    With n values a channel, x^ = (x - mean) s, s = 1 / sqrt(variance + eps), and g the gradient behind the ReLU:
    gx = w s (g - sum(g)/n - x^ sum(g x^)/n), gw = sum(g x^), gb = sum(g). The gradient of <u, gx> + <a, gw> + <b, gb>
    by g and by x, worked out, is a combination of u, g and x^ with coefficients that are sums over each channel.
    """

    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, x: Tensor, weight: Tensor, y: Tensor, mean: Tensor, inverse: Tensor, eps: float
    ) -> tuple[Tensor, ...]:
        g = torch.ops.aten.threshold_backward(as_groups(grad), as_groups(y), 0)
        gx, gw, gb = norm_gradient(g, x, weight, mean, inverse, eps)
        ctx.save_for_backward(g, x, weight, y, mean, inverse, gw, gb)
        ctx.eps = eps
        return gx, shaped_as(gw, weight), shaped_as(gb, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        (g, x, own, y, mean, s, gw, gb), tasks = ctx.saved_tensors, grads[0].shape[-1]
        u, x, y = as_groups(grads[0]), as_groups(x), as_groups(y)
        a, b, weight = (by_channel(v, tasks) for v in (*grads[1:], own))
        n = x.numel() // x.shape[1]
        by_g, ux, u1 = _norm_backward(u, x, weight, None, None, mean, s, True, ctx.eps, [True] * 3)
        # sum(u g) of each channel, in one pass: as the weight's gradient where statistics are given as 0 and 1
        zero, one = torch.zeros_like(mean), torch.ones_like(mean)
        ug = _norm_backward(u, g, one, zero, one, None, None, False, 0.0, [False, True, False])[1]
        p = ug - (gb * u1 + gw * ux) / n  # sum(u gx) / (w s)

        by_g = by_g.addcmul_(x, _wide(a * s)).add_(_wide(b - a * s * mean))
        by_grad = torch.ops.aten.threshold_backward(by_g, y, 0)

        of_g, of_u = a - weight * s * ux / n, -weight * s * gw / n  # x^ is met as of_g g + of_u u ...
        of_one = -(of_g * gb + of_u * u1) / n  # ... less that one's mean and its part along x^, and by way of s
        of_x = -(of_g * gw + of_u * ux) / n - weight * p * s / n
        by_x = (g * _wide(s * of_g)).addcmul_(u, _wide(s * of_u)).addcmul_(x, _wide(s * s * of_x))
        by_x.add_(_wide(s * (of_one - s * of_x * mean)))
        return from_groups(by_grad, tasks), from_groups(by_x, tasks), shaped_as(s * p, own), None, None, None, None


def pooled(x: Tensor) -> Tensor:
    """2x2 max-pooling of x [B, C, H, W, T]."""
    return from_groups(torch.max_pool2d(as_groups(x), 2), x.shape[-1])


def normalised(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """`norm_relu` itself, and the mean and 1 / sqrt(variance + eps) of each channel [T*C]."""
    tasks, groups = x.shape[-1], as_groups(x)
    w, b = by_channel(weight, tasks), by_channel(bias, tasks)
    if groups.numel() <= _FEW * groups.shape[1]:
        y, mean, inverse = torch.native_batch_norm(groups, w, b, None, None, True, 0.0, eps)
    else:
        mean, variance = _statistics(groups)
        inverse = torch.rsqrt(variance + eps)
        y = torch.native_batch_norm(groups, w, b, mean, variance, False, 0.0, eps)[0]
    return from_groups(y.relu_(), tasks), mean, inverse


def norm_gradient(
    g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients by x, and by weight and bias channel by channel [T*C], for g [B, T*C, H, W] behind the ReLU."""
    tasks, groups = x.shape[-1], as_groups(x)
    w = by_channel(weight, tasks)
    gx, gw, gb = _norm_backward(g, groups, w, None, None, mean, inverse, True, eps, [True] * 3)
    return from_groups(gx, tasks), gw, gb


def shaped_as(v: Tensor, weight: Tensor) -> Tensor:
    """What each channel has, [T*C], in the shape of a weight [T, C], or added up over the tasks that share one [C]."""
    return v.view(-1, len(weight)).sum(0) if weight.ndim == 1 else v.view_as(weight)


_FEW = 1024  # values of a channel that may be added up one after the other


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel of x [B, G, H, W], channels last.

    PyTorch adds up all values of a channel in turn, which leaves the variance 5 digits in single precision where a
    channel has 10,000. Here the columns of the images count as channels of their own, and are combined at the end.
    """
    columns = x.permute(0, 2, 3, 1).flatten(2).permute(0, 2, 1)[..., None]  # [B, W*G, H, 1]
    mean, variance = torch.ops.aten.batch_norm_update_stats(columns, None, None, 0.0)
    mean, variance = mean.view(-1, x.shape[1]), variance.view(-1, x.shape[1])
    whole = mean.mean(0)
    return whole, variance.mean(0) + (mean - whole).square().mean(0)


def _wide(v: Tensor) -> Tensor:
    """[G] for use with [B, G, H, W]."""
    return v[:, None, None]
