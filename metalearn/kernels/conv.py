"""Equal to torch.conv2d with each task's own weights; faster because one call serves all tasks, also backwards.

Convolution is bilinear, and so are its two gradients, so that derivatives of any order consist of the same three maps.
PyTorch's own second derivative of a grouped convolution goes through the groups one by one.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from metalearn.kernels.layout import as_groups, from_groups
from metalearn.kernels.tuning import IMAGE_KERNEL_CHANNELS, IMAGE_KERNEL_SIZE

_convolution_backward = torch.ops.aten.convolution_backward


def conv(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Convolution of x [B, I, H, W, T] with kernels of odd size k and padding k // 2, differentiable to any order.

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
    """The gradient of <y, x * w> with respect to x: bilinear in y and w."""

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
    """The gradient of <y, x * w> with respect to w: bilinear in x and y."""

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
    """The forward pass of `conv` alone, not recorded by autograd."""
    pad, tasks = weight.shape[-1] // 2, x.shape[-1]
    if _is_one(weight, tasks):
        return torch.conv3d(x, _one(weight), None, (stride, stride, 1), (pad, pad, 0))
    return from_groups(torch.conv2d(as_groups(x), _all(weight), None, stride, pad, 1, tasks), tasks)


def by_input(y: Tensor, weight: Tensor, stride: int, shape: torch.Size) -> Tensor:
    """The gradient of <y, x * w> with respect to x, which has this shape."""
    b, c, h, w, tasks = shape
    blank = y.new_empty(b, h, w, tasks, c).permute(0, 4, 1, 2, 3)  # for its shape alone
    mask = [True, False, False]
    if _is_one(weight, tasks):
        grad: Tensor = _convolution_backward(y, blank, _one(weight), None, *_volumes(stride, weight), mask)[0]
        return grad
    how = _groups(stride, weight.shape[-1], tasks)
    return from_groups(_convolution_backward(as_groups(y), as_groups(blank), _all(weight), None, *how, mask)[0], tasks)


def by_weight(x: Tensor, y: Tensor, stride: int, shape: torch.Size) -> Tensor:
    """The gradient of <y, x * w> with respect to w, which has this shape: of each task, or summed if they share it."""
    mask, tasks = [False, True, False], x.shape[-1]
    if len(shape) == 5 or tasks == 1:
        blank = x.new_empty(tasks * shape[-4], *shape[-2:], shape[-3]).permute(0, 3, 1, 2)
        how = _groups(stride, shape[-1], tasks)
        grad: Tensor = _convolution_backward(as_groups(y), as_groups(x), blank, None, *how, mask)[1]
        return grad if len(shape) == 4 else grad.unflatten(0, (tasks, -1))
    blank = x.new_empty(shape)
    if shape[1] >= IMAGE_KERNEL_CHANNELS and y.shape[3] >= IMAGE_KERNEL_SIZE:  # torch's kernel for images, with copies
        y, x = (v.permute(4, 0, 2, 3, 1).flatten(0, 1).contiguous().permute(0, 3, 1, 2) for v in (y, x))
        grad = _convolution_backward(y, x, blank, None, *_groups(stride, shape[-1], 1), mask)[1]
        return grad
    volume: Tensor = _convolution_backward(y, x, blank[..., None], None, *_volumes(stride, blank), mask)[1]
    return volume[..., 0]


def _is_one(weight: Tensor, tasks: int) -> bool:
    """True if several tasks have the same weight in the same memory."""
    return tasks > 1 and (weight.ndim == 4 or weight.stride(0) == 0)


def _one(weight: Tensor) -> Tensor:
    """View the weight that tasks share as a kernel over volumes: [O, I, k, k, 1]."""
    return (weight if weight.ndim == 4 else weight[0])[..., None]


def _all(weight: Tensor) -> Tensor:
    """The weights of all tasks as those of one grouped convolution: [T*O, I, k, k]."""
    return weight if weight.ndim == 4 else weight.flatten(0, 1)


def _volumes(stride: int, weight: Tensor) -> tuple[Any, ...]:
    """Stride, padding, dilation, transposed, output padding and groups of a convolution over volumes."""
    pad = weight.shape[-1] // 2
    return [stride, stride, 1], [pad, pad, 0], [1, 1, 1], False, [0, 0, 0], 1


def _groups(stride: int, kernel: int, tasks: int) -> tuple[Any, ...]:
    """The same arguments of a grouped convolution."""
    return [stride] * 2, [kernel // 2] * 2, [1, 1], False, [0, 0], tasks
