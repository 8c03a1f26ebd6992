"""Convolution, batch norm, activation and max-pooling, evaluated lazily: a call is noted and computed when needed.

Steps that were noted one after the other (convolution, batch norm, ReLU or leaky ReLU, 2x2 max-pooling) are computed as
one chain, whatever modules call them. A value that a second operation uses ends a chain.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from metalearn.kernels.bias_act import bias_act
from metalearn.kernels.conv import Geometry, conv
from metalearn.kernels.conv_stack import Block, How, run
from metalearn.kernels.layout import pooled, stack
from metalearn.kernels.modes import are_chains_fused, is_differentiated_twice
from metalearn.kernels.norm_act import norm_act
from metalearn.kernels.rules.elementwise import of_one
from metalearn.kernels.rules.pooling import by_channel
from metalearn.kernels.task_tensor import RULES, TaskTensor, rule, sizes_of, weight_of


class Conv(NamedTuple):
    """A convolution that is noted."""

    weight: Tensor
    bias: Tensor | None
    geometry: Geometry


class Norm(NamedTuple):
    """A batch norm that is noted."""

    gamma: Tensor
    beta: Tensor
    eps: float


class Activation(NamedTuple):
    """A ReLU (slope 0) or leaky ReLU that is noted."""

    slope: float


class Pool(NamedTuple):
    """A 2x2 max-pooling that is noted."""


Step = Conv | Norm | Activation | Pool


class Noted(TaskTensor):
    """Images whose computation is noted: `step` of `source`."""

    source: TaskTensor
    step: Step | None  # None: computed elsewhere
    users: int  # noted steps of this one


def note(source: TaskTensor, step: Step, shape: list[int]) -> TaskTensor:
    """Note a step of a tensor's computation."""
    made = Noted(None, 4, source.tasks, shape, source, compute)
    made.source, made.step, made.users = source, step, 0
    if isinstance(source, Noted):
        source.users += 1
    return made


def last_step(x: Any) -> Step | None:
    """The last step of a tensor that is noted and not computed."""
    return x.step if isinstance(x, Noted) and not x.is_computed else None


def compute(x: TaskTensor) -> Tensor:
    """Compute the noted steps, starting from the last value that is in memory or that another step uses too."""
    steps: list[Step] = []
    source: Any = x
    while (step := last_step(source)) is not None and (source is x or source.users == 1):
        steps.append(step)
        source = source.source
    return _run(source, steps[::-1])


def _run(x: TaskTensor, steps: list[Step]) -> Tensor:
    """Apply steps to images; give [B, C, H, W, T]."""
    value, rest = x.tasks_at(0), steps  # [T, B, C, H, W]
    while rest:
        chain: list[Block] = []
        while isinstance(rest[0], Conv) and rest[1:] and isinstance(rest[1], Norm):
            block, rest = _block(rest)
            chain.append(block)
            if not rest:
                break
        if chain:
            fused = are_chains_fused()
            made = run(value, chain, is_differentiated_twice()) if fused else _in_turn(stack(value), chain)
        else:
            made, rest = _one(stack(value), rest)
        value = made.movedim(4, 0)
    return value.movedim(0, 4)


def _block(steps: list[Step]) -> tuple[Block, list[Step]]:
    """The block at the beginning of the steps, and the steps behind it."""
    convolution, norm, *rest = steps
    assert isinstance(convolution, Conv) and isinstance(norm, Norm)
    slope, rest = _slope(rest)
    pool = bool(rest) and isinstance(rest[0], Pool)
    how = How(convolution.geometry, norm.eps, slope, pool)
    gamma, beta = norm.gamma, norm.beta
    if (bias := convolution.bias) is not None:  # batch norm subtracts it: no influence, and a gradient of zero
        gamma, beta = _alike(gamma, torch.add(*_alike(beta, bias), alpha=0))
    return Block(convolution.weight, gamma, beta, how), rest[pool:]


def _alike(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two values by channel, both [T, C] if one of them is, else both [C]."""
    return (a, b) if a.ndim == b.ndim else torch.broadcast_tensors(a, b)


def _slope(steps: list[Step]) -> tuple[float, list[Step]]:
    """The slope of the activation at the beginning of the steps, 1 without one, and the steps behind it."""
    if steps and isinstance(steps[0], Activation):
        return steps[0].slope, steps[1:]
    return 1.0, steps


def _one(x: Tensor, steps: list[Step]) -> tuple[Tensor, list[Step]]:
    """Apply the first step, with its activation, to x [B, C, H, W, T]; give the steps behind it."""
    step, *rest = steps
    if isinstance(step, Conv):
        made = conv(x, step.weight, step.geometry)
        if step.bias is None:
            return made, rest
        slope, rest = _slope(rest)
        return bias_act(made, step.bias, slope), rest
    if isinstance(step, Norm):
        slope, rest = _slope(rest)
        return norm_act(x, step.gamma, step.beta, step.eps, slope), rest
    if isinstance(step, Activation):  # of a value that another layer uses too
        return F.leaky_relu(x, step.slope) if step.slope else F.relu(x), rest
    return pooled(x), rest


def _in_turn(x: Tensor, blocks: list[Block]) -> Tensor:
    """Apply blocks to x [B, C, H, W, T] layer by layer."""
    for kernel, gamma, beta, how in blocks:
        x = norm_act(conv(x, kernel, how.geometry), gamma, beta, how.eps, how.slope)
        x = pooled(x) if how.pool else x
    return x


@rule(F.conv2d, torch.conv2d)
def conv2d(
    x: Any, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Convolution with each task's own weights, or one that the tasks share."""
    if not isinstance(x, TaskTensor) or len(x.sizes) != 4:
        return NotImplemented
    (outputs, inputs, *size), dilation = sizes_of(weight), _pair(dilation)
    if padding == "same" and any(d * (k - 1) % 2 for d, k in zip(dilation, size, strict=True)):
        return NotImplemented
    if padding == "same":
        padding = tuple(d * (k - 1) // 2 for d, k in zip(dilation, size, strict=True))
    geometry = Geometry(_pair(stride), _pair(0 if padding == "valid" else padding), dilation, groups)
    spatial = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(x.sizes[2:], size, *geometry[:3], strict=True)
    ]  # fmt: skip
    if min(spatial) < 1 or x.sizes[1] != inputs * groups:
        return NotImplemented  # torch's own message
    own = None if bias is None else weight_of(bias)
    return note(x, Conv(weight_of(weight), own, geometry), [x.sizes[0], outputs, *spatial])


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value) * (2 if len(value) == 1 else 1)


@rule(F.batch_norm)
def batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Batch norm by the statistics of each task's own images."""
    if not isinstance(x, TaskTensor) or len(x.sizes) != 4 or not training or running_mean is not None:
        return NotImplemented
    like = x.source if isinstance(x, Noted) and not x.is_computed else x.value
    gamma, beta = (
        torch.full((x.sizes[1],), fill, dtype=like.dtype, device=like.device) if v is None else weight_of(v)
        for v, fill in ((weight, 1.0), (bias, 0.0))
    )
    return note(x, Norm(*_alike(gamma, beta), eps), list(x.sizes))


def _activation(function: Any, slope: float | None) -> None:
    """Register the rule of a function: noted behind a batch norm or a bias, else computed."""
    plain = of_one(function)

    def apply(x: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
        own = negative_slope if slope is None else slope
        last = last_step(x)
        fits = isinstance(last, Norm) or (isinstance(last, Conv) and last.bias is not None)
        if not fits or own < 0:  # the kernels' backward pass takes the sign of the input from that of the output
            return plain(x, *([negative_slope] if slope is None else []), inplace=inplace)
        if not inplace:
            return note(x, Activation(own), list(x.sizes))
        before = note(x.source, x.step, list(x.sizes))
        if isinstance(x.source, Noted):
            x.source.users -= 1  # `before` replaces x as a user
        made = note(before, Activation(own), list(x.sizes))
        x.step, x._compute = None, lambda _: made.value
        return made

    RULES[function] = apply


for _function in (F.relu, torch.relu, Tensor.relu):
    _activation(_function, 0.0)
_activation(F.leaky_relu, None)


@rule(F.max_pool2d, torch.max_pool2d)
def max_pool2d(x: Any, kernel_size: Any, stride: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Max-pooling: 2x2 behind a batch norm or its activation is noted."""
    pair = _pair(kernel_size)
    plain = not args and not any(kwargs.get(n) not in (default, None) for n, default in _DEFAULTS.items())
    fits = isinstance(x, TaskTensor) and plain and pair == (2, 2) and (stride is None or _pair(stride) == (2, 2))
    if fits and isinstance(last_step(x), Norm | Activation) and min(x.sizes[2:]) >= 2:
        return note(x, Pool(), [*x.sizes[:2], *(n // 2 for n in x.sizes[2:])])
    return _max_pool2d(x, kernel_size, stride, *args, **kwargs)


_DEFAULTS = {"padding": 0, "dilation": 1, "ceil_mode": False, "return_indices": False}
_max_pool2d = by_channel(F.max_pool2d)
