"""Equal to the first conv and norm_act over images that need no gradient; faster because patches are small.

A convolution is a product with patches p of few values. Batch norm behind it only needs their mean and covariance C:
over all patches, k.p has the mean k.mean(p) and the variance k'Ck. So the block is the activation of one product of
[p - mean(p), 1] with a small matrix of each task, and all its derivatives go through that matrix. The map behind the
convolution, the largest of all, is neither normalized nor differentiated.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from metalearn.kernels.conv import Geometry
from metalearn.kernels.norm_act import activate_, activation_gradient
from metalearn.kernels.tuning import PATCH_RATIO


def applies(x: Tensor, kernel: Tensor, geometry: Geometry) -> bool:
    """True if the patch kernel applies to images x: on the CPU with small patches, where it was measured to be faster.

    It does not apply under autocast, which would round too much, or where x needs a gradient, which it does not give.
    """
    if geometry.groups != 1 or geometry.dilation != (1, 1):
        return False
    small = PATCH_RATIO * kernel.shape[-3:].numel() <= kernel.shape[-4]
    return small and x.device.type == "cpu" and not x.requires_grad and not torch.is_autocast_enabled("cpu")


def patches(x: Tensor, size: torch.Size, geometry: Geometry) -> Tensor:
    """Patches of images x [T, B, C, H, W], less the mean patch of their task, and a one behind each.

    Args:
        size: of a patch, (k, l).

    Returns:
        [T, K + 1, B, H', W'] with K = C*k*l.
    """
    (above, left), (down, right) = geometry.padding, geometry.stride
    padded = F.pad(x, (left, left, above, above))
    windows = padded.unfold(3, size[0], down).unfold(4, size[1], right).permute(0, 2, 5, 6, 1, 3, 4)
    values = windows.shape[1:4].numel()
    p = x.new_empty(len(x), values + 1, *windows.shape[4:])
    own, ones = p.split([values, 1], 1)
    own.view(windows.shape).copy_(windows)
    own -= own.mean((2, 3, 4), keepdim=True)
    ones.fill_(1)
    return p


def as_matrix(p: Tensor, kernel: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
    """Convolution and batch norm as one matrix of each task [T, O, K + 1], a function of their weights.

    Args:
        p: from `patches`.
        kernel: [T, O, C, k, k], or [O, C, k, k] where the tasks share it; gamma and beta: [T, O] or [O].
    """
    # Single precision would leave few digits of a small variance, such as that of an edge filter on a blurred image
    rows, all_ = kernel.flatten(-3), p.flatten(2).double()
    covariance = (all_ @ all_.mT)[:, :-1, :-1] / all_.shape[2]
    variance = ((rows.double() @ covariance) * rows).sum(-1)  # [T, O]
    scale = gamma * torch.rsqrt(variance + eps).to(gamma.dtype)
    return torch.cat([scale[..., None] * rows, beta.expand_as(scale)[..., None]], -1)


def block(p: Tensor, matrix: Tensor, slope: float) -> Tensor:
    """The block: [B, O, H', W', T], laid out as in metalearn.kernels.layout; twice differentiable by the matrix."""
    y: Tensor = _Block.apply(p, matrix, slope)
    return y


class _Block(Function):
    @staticmethod
    def forward(ctx: Any, p: Tensor, matrix: Tensor, slope: float) -> Tensor:
        y = activate_(product(p, matrix), slope)
        ctx.save_for_backward(p, y)
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return None, _BlockGrad.apply(grads[0], *ctx.saved_tensors, ctx.slope), None


class _BlockGrad(Function):
    """The gradient of the matrix, linear in that of the maps."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, p: Tensor, y: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(p, y)
        ctx.slope = slope
        return gradient(p, activation_gradient(grad, y, slope))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        p, y = ctx.saved_tensors
        u = product(p, grads[0])
        return activation_gradient(u, y, ctx.slope, out=u), None, None, None


def product(p: Tensor, matrix: Tensor) -> Tensor:
    """The maps before the activation, not recorded by autograd."""
    tasks, _, *shape = p.shape
    y = p.new_empty(*shape, tasks, matrix.shape[1])
    torch.bmm(p.flatten(2).mT, matrix.mT, out=y.flatten(0, 2).transpose(0, 1))
    return y.permute(0, 4, 1, 2, 3)


def gradient(p: Tensor, grad: Tensor) -> Tensor:
    """The gradient of <grad, product(p, matrix)> with respect to the matrix."""
    each = grad.permute(4, 0, 2, 3, 1).flatten(1, 3)  # [T, B*H'*W', O]
    return torch.bmm(p.flatten(2), each).mT
