"""A model as a pure function of its weights, for many tasks at once."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from metalearn.config.engine import Kernel
from metalearn.errors import UserError
from metalearn.kernels.layout import expand
from metalearn.models.base import MetaModel, Weights
from metalearn.models.failures import changed_buffer, explained
from metalearn.models.norm import NormContext, using_context

_twice: ContextVar[bool] = ContextVar("twice", default=False)


@contextmanager
def differentiated_twice(needed: bool) -> Iterator[None]:
    """Set whether the outputs of forward passes inside will be differentiated twice; without it, they are cheaper.

    The inner loop sets it. Differentiating twice through a pass that was made without it raises RuntimeError.
    """
    token = _twice.set(needed)
    try:
        yield
    finally:
        _twice.reset(token)


class _Features(nn.Module):
    """`features` behind `forward`, which is what functional_call calls."""

    def __init__(self, model: MetaModel):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, norm: NormContext) -> Tensor:
        return self.model.features(x, norm)


class Functional:
    """A model as a pure function of its weights, for many tasks at once.

    Each weight may have the model's own shape (shared by all tasks) or a leading task dimension [T, ...].

    Args:
        kernel: `grouped` runs the model's own kernels for many tasks, `vmap` its ordinary forward pass under
            torch.func.vmap; `auto` chooses, see `is_grouped`.

    Raises:
        UserError: `grouped` for a model without such kernels.
    """

    def __init__(self, model: MetaModel, kernel: Kernel = "auto"):
        if kernel == "grouped" and not model.has_kernels:
            raise UserError("engine.kernel=grouped: this model has no kernels of its own; use vmap or auto")
        self.kernel = kernel
        self.model = _without_weights(copy.deepcopy(model))  # so that they cannot be used by mistake
        self._dims = {name: p.ndim for name, p in model.named_parameters()}
        self._features = _Features(self.model)

    def is_grouped(self, device: str) -> bool:
        """True if the model's own kernels run on this device (`cpu`, `cuda`).

        `auto` chooses them on the CPU in single or double precision, if the model has some. There they were faster in
        every measured setting (experiments/speed).
        """
        if self.kernel == "auto":
            return self.model.has_kernels and device == "cpu" and not torch.is_autocast_enabled(device)
        return self.kernel == "grouped"

    def expand(self, weights: Weights, tasks: int) -> Weights:
        """The same weights for each of `tasks` tasks: views [T, ...], in the memory order that the kernels use."""
        own = weights and self.is_grouped(next(iter(weights.values())).device.type)
        return {n: expand(w, tasks) if own else w.expand(tasks, *w.shape) for n, w in weights.items()}

    def outputs(self, weights: Weights, x: Tensor, norm: NormContext) -> tuple[Tensor, list[Tensor]]:
        """x [T, B, ...] to outputs [T, B, way] and, with `norm.collect`, each norm layer's statistics [T, 2, C]."""
        if self.is_grouped(x.device.type):
            features, statistics = self._batched(weights, x, norm)
            return linear(weights, features), statistics
        return self._apply(self.model, weights, x, norm)

    def features(self, weights: Weights, x: Tensor, norm: NormContext) -> tuple[Tensor, list[Tensor]]:
        """x [T, B, ...] to features [T, B, D] and statistics, as `outputs`."""
        if self.is_grouped(x.device.type):
            return self._batched(weights, x, norm)
        named = {f"model.{name}": weight for name, weight in weights.items()}
        features, statistics = self._apply(self._features, named, x, norm)
        self.model.check_width(features)
        return features, statistics

    def _batched(self, weights: Weights, x: Tensor, norm: NormContext) -> tuple[Tensor, list[Tensor]]:
        tasks = len(x)
        running = None if norm.running is None else [v.repeat(1, tasks) for v in norm.running]
        every = replace(norm, running=running, batch_statistics=[])
        features = self.model.features_batched(weights, x, every, _twice.get())
        self.model.check_width(features)
        return features, [v.unflatten(1, (tasks, -1)).movedim(1, 0) for v in every.batch_statistics]

    def _apply(self, module: nn.Module, weights: Weights, x: Tensor, norm: NormContext) -> tuple[Tensor, list[Tensor]]:
        buffers = {name: buffer.to(x.device) for name, buffer in module.named_buffers()}

        def one_task(weights: Weights, x: Tensor, task: Tensor) -> tuple[Tensor, list[Tensor]]:
            own = replace(norm, batch_statistics=[], masks=norm.masks and norm.masks.of(task))
            with using_context(own):
                return functional_call(module, (weights, buffers), (x, own)), own.batch_statistics

        if module.training != norm.training:
            module.train(norm.training)
        dims = {n: 0 if w.ndim > self._dims[n.removeprefix("model.")] else None for n, w in weights.items()}
        tasks = norm.masks.ids if norm.masks else torch.zeros(len(x), dtype=torch.int64, device=x.device)
        every = partial(vmap(one_task, in_dims=(dims, 0, 0)), weights, x, tasks)
        versions = {name: buffer._version for name, buffer in buffers.items()}
        try:
            result = every()
        except RuntimeError as error:
            if (plain := explained(error, module, every)) is None:
                raise
            raise plain from error
        for name, buffer in buffers.items():
            if buffer._version != versions[name]:
                raise changed_buffer(name.removeprefix("model."))
        return result


def _without_weights(model: MetaModel) -> MetaModel:
    """The model with its parameters on the device `meta`, where they have shapes alone; buffers stay."""
    empty: dict[int, nn.Parameter] = {}  # a parameter that has two names keeps both
    for module in model.modules():
        for name, p in module._parameters.items():
            if p is not None:
                module._parameters[name] = empty.setdefault(id(p), nn.Parameter(p.detach().to("meta")))
    return model


def sum_over_tasks(x: Tensor) -> Tensor:
    """Sum x [T, ...] over tasks in the order of its memory: many times faster where channels lie last."""
    order = sorted(range(1, x.ndim), key=x.stride, reverse=True)
    return x.permute(0, *order).sum(0).permute([order.index(d) for d in range(1, x.ndim)])


def linear(weights: Weights, features: Tensor) -> Tensor:
    """The head alone: features [T, B, D] to outputs [T, B, way]; `head.weight` is [T, way, D] or [way, D]."""
    weight, bias = weights["head.weight"], weights["head.bias"]
    return features @ weight.mT + (bias[:, None] if bias.ndim == 2 else bias)
