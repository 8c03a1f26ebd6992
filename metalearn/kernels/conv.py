"""Equal to torch.conv2d with each task's own weights; faster because one call serves all tasks, also backwards.

<y, x * w> is linear in each of its three factors. Its derivative by one of them is a bilinear map of the other two, and
derivatives of any order consist of these three maps: the convolution and its two gradients. PyTorch's own second
derivative of a grouped convolution goes through the groups one by one.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from metalearn.kernels.layout import as_groups, from_groups
from metalearn.kernels.tuning import PATCH_CHANNELS, PATCH_ROWS, VOLUME_KERNEL_CHANNELS, VOLUME_KERNEL_SIZE

_FACTORS = ("x", "w", "y")


class Geometry(NamedTuple):
    """The arguments of a convolution of two dimensions besides its input and weight."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def over_groups(self, tasks: int) -> tuple[Any, ...]:
        """Stride, padding, dilation, transposed, output padding and groups of one convolution for all tasks."""
        return list(self.stride), list(self.padding), list(self.dilation), False, [0, 0], self.groups * tasks

    def over_volumes(self) -> tuple[Any, ...]:
        """The same arguments of a convolution over volumes, whose third dimension is the task."""
        return [*self.stride, 1], [*self.padding, 0], [*self.dilation, 1], False, [0, 0, 0], self.groups


_convolution_backward = torch.ops.aten.convolution_backward


def conv(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Convolution of x [B, I, H, W, T], differentiable to any order.

    Args:
        weight: [T, O, I/groups, k, l], or [O, I/groups, k, l] where the tasks share it. A weight expanded over the
            tasks (stride 0, as before the first inner step) is computed with as one weight; each task still has its
            own gradient.

    Returns:
        [B, O, H', W', T].
    """
    y: Tensor = _Derivative.apply("y", x, weight, geometry, None)
    return y


class _Derivative(Function):
    """The derivative of <y, x * w> by one of its factors `x`, `w` and `y`: a bilinear map of the other two.

    The derivative by y is the convolution x * w itself.
    """

    @staticmethod
    def forward(
        ctx: Any, by: str, first: Tensor, second: Tensor, geometry: Geometry, shape: torch.Size | None
    ) -> Tensor:
        ctx.save_for_backward(first, second)
        ctx.by, ctx.geometry = by, geometry
        if by == "y":
            return convolve(first, second, geometry)
        assert shape is not None  # of the factor, which the others do not determine
        return by_input(second, first, geometry, shape) if by == "x" else by_weight(first, second, geometry, shape)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        others = [factor for factor in _FACTORS if factor != ctx.by]
        factors = {**dict(zip(others, ctx.saved_tensors, strict=True)), ctx.by: grads[0]}

        def derivative(by: str) -> Tensor:
            first, second = (factors[factor] for factor in _FACTORS if factor != by)
            result: Tensor = _Derivative.apply(by, first, second, ctx.geometry, factors[by].shape)
            return result

        asked = zip(others, ctx.needs_input_grad[1:3], strict=True)
        return None, *(derivative(factor) if needed else None for factor, needed in asked), None, None


def convolve(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The forward pass of `conv` alone, not recorded by autograd."""
    tasks = x.shape[-1]
    if _is_one(weight, tasks):
        return torch.convolution(x, _one(weight), None, *geometry.over_volumes())
    return from_groups(torch.convolution(as_groups(x), _all(weight), None, *geometry.over_groups(tasks)), tasks)


def by_input(y: Tensor, weight: Tensor, geometry: Geometry, shape: torch.Size) -> Tensor:
    """The gradient of <y, x * w> with respect to x, which has this shape."""
    b, c, h, w, tasks = shape
    blank = y.new_empty(b, h, w, tasks, c).permute(0, 4, 1, 2, 3)  # for its shape alone
    mask = [True, False, False]
    if _is_one(weight, tasks):
        grad: Tensor = _convolution_backward(y, blank, _one(weight), None, *geometry.over_volumes(), mask)[0]
        return grad
    how = geometry.over_groups(tasks)
    return from_groups(_convolution_backward(as_groups(y), as_groups(blank), _all(weight), None, *how, mask)[0], tasks)


def by_weight(x: Tensor, y: Tensor, geometry: Geometry, shape: torch.Size) -> Tensor:
    """The gradient of <y, x * w> with respect to w, which has this shape: of each task, or summed if they share it."""
    mask, tasks = [False, True, False], x.shape[-1]
    own = len(shape) == 5 or tasks == 1
    if own and _is_small(x, y, geometry, shape):
        return _by_patches(x, y, geometry, shape)
    if own:
        blank = x.new_empty(tasks * shape[-4], *shape[-2:], shape[-3]).permute(0, 3, 1, 2)
        how = geometry.over_groups(tasks)
        grad: Tensor = _convolution_backward(as_groups(y), as_groups(x), blank, None, *how, mask)[1]
        return grad if len(shape) == 4 else grad.unflatten(0, (tasks, -1))
    blank = x.new_empty(shape)
    if shape[1] < VOLUME_KERNEL_CHANNELS or y.shape[3] >= VOLUME_KERNEL_SIZE:  # torch's kernel for images, with copies
        y, x = (v.permute(4, 0, 2, 3, 1).flatten(0, 1).contiguous().permute(0, 3, 1, 2) for v in (y, x))
        grad = _convolution_backward(y, x, blank, None, *geometry.over_groups(1), mask)[1]
        return grad
    volume: Tensor = _convolution_backward(y, x, blank[..., None], None, *geometry.over_volumes(), mask)[1]
    return volume[..., 0]


def _is_small(x: Tensor, y: Tensor, geometry: Geometry, shape: torch.Size) -> bool:
    """True if products of patches with gradients were measured to be faster than a grouped convolution."""
    rows = y.shape[0] * y.shape[2] * y.shape[3]
    plain = geometry.groups == 1 and geometry.dilation == (1, 1)
    return plain and x.device.type == "cpu" and shape[-3] >= PATCH_CHANNELS and rows <= PATCH_ROWS


def _by_patches(x: Tensor, y: Tensor, geometry: Geometry, shape: torch.Size) -> Tensor:
    """The gradient of each task's own weight as a product of y with its patches of x, in memory for one task."""
    (down, right), (above, left) = geometry.stride, geometry.padding
    *_, outputs, inputs, height, width = shape
    images, (rows, columns) = x.permute(4, 0, 2, 3, 1), x.shape[2:4]  # [T, B, H, W, I]
    padded = x.new_zeros(len(x), rows + 2 * above, columns + 2 * left, inputs)  # one buffer for all tasks
    inner = padded[:, above : above + rows, left : left + columns]
    windows = padded.unfold(1, height, down).unfold(2, width, right).permute(0, 1, 2, 4, 5, 3)
    patches = x.new_empty(windows.shape)
    grads = y.permute(4, 1, 0, 2, 3).flatten(2)  # [T, O, B*H'*W']
    made = x.new_empty(len(grads), outputs, height, width, inputs)
    for of_task, grad, image in zip(made, grads, images, strict=True):
        inner.copy_(image)
        patches.copy_(windows)
        torch.mm(grad, patches.view(-1, height * width * inputs), out=of_task.view(outputs, -1))
    return made.permute(0, 1, 4, 2, 3).view(shape)


def _is_one(weight: Tensor, tasks: int) -> bool:
    """True if several tasks have the same weight in the same memory."""
    return tasks > 1 and (weight.ndim == 4 or weight.stride(0) == 0)


def _one(weight: Tensor) -> Tensor:
    """View the weight that tasks share as a kernel over volumes: [O, I/groups, k, l, 1]."""
    return (weight if weight.ndim == 4 else weight[0])[..., None]


def _all(weight: Tensor) -> Tensor:
    """The weights of all tasks as those of one grouped convolution: [T*O, I/groups, k, l]."""
    return weight if weight.ndim == 4 else weight.flatten(0, 1)
