"""Equal to leaky_relu(x + bias, slope); faster because it takes the memory of x, and its derivatives are one pass each.

A slope of 0 is ReLU, a slope of 1 no activation.
"""

from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from metalearn.kernels.layout import as_groups, by_channel, from_groups, shaped_as
from metalearn.kernels.norm_act import activate_, activation_gradient


def bias_act(x: Tensor, bias: Tensor, slope: float) -> Tensor:
    """Add a bias and apply an activation, twice differentiable.

    Args:
        x: [B, C, H, W, T], a result that neither autograd has saved nor anything else uses: it is overwritten.
        bias: [T, C], or [C] where the tasks share it.
        slope: of the activation below 0.
    """
    y: Tensor = _BiasAct.apply(x, bias, slope)
    return y


class _BiasAct(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, slope: float) -> Tensor:
        groups = as_groups(x.data)
        y = from_groups(activate_(groups.add_(_wide(bias, x.shape[-1])), slope), x.shape[-1])
        ctx.save_for_backward(y, bias)
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return *_BiasActGrad.apply(grads[0], *ctx.saved_tensors, ctx.slope), None


class _BiasActGrad(Function):
    """The gradients of bias_act as a function of the output's gradient g, with its own gradient.

    With the activation's derivative d, gx = d g and gb = sum(d g). The gradient of <u, gx> + <a, gb> is d (u + a).
    """

    @staticmethod
    def forward(ctx: Any, grad: Tensor, y: Tensor, bias: Tensor, slope: float) -> tuple[Tensor, Tensor]:
        g = activation_gradient(as_groups(grad), as_groups(y), slope)
        rows = g.permute(0, 2, 3, 1).flatten(0, 2)  # [B*H*W, T*C]
        ctx.save_for_backward(y, bias)
        ctx.slope = slope
        return from_groups(g, y.shape[-1]), shaped_as(rows.sum(0), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        y, tasks = ctx.saved_tensors[0], grads[0].shape[-1]
        u = as_groups(grads[0]) + _wide(grads[1], tasks)
        return from_groups(activation_gradient(u, as_groups(y), ctx.slope), tasks), None, None, None


def _wide(v: Tensor, tasks: int) -> Tensor:
    """View values by channel for use with [B, T*C, H, W]."""
    return by_channel(v, tasks)[:, None, None]
