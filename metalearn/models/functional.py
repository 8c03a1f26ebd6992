"""A model as a pure function of its weights, for many tasks at once."""

import copy
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from metalearn.config.engine import Kernel
from metalearn.kernels import rules  # noqa: F401  (registers them)
from metalearn.kernels.layout import expand
from metalearn.kernels.task_tensor import TaskTensor, values_of
from metalearn.models.base import MetaModel, Weights
from metalearn.models.call import Call
from metalearn.models.failures import changed_buffer, explained
from metalearn.models.norm import NormContext, using_context


class _Features(nn.Module):
    """`features` behind `forward`, which is what functional_call calls."""

    def __init__(self, model: MetaModel):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.features(x)


class Functional:
    """A model as a pure function of its weights, for many tasks at once.

    Each weight may have the model's own shape (shared by all tasks) or a leading task dimension [T, ...].

    Args:
        kernel: `grouped` batches operations over tasks by the rules and kernels of metalearn.kernels, `vmap` by
            torch.func.vmap; `auto` chooses, see `is_grouped`.
    """

    def __init__(self, model: MetaModel, kernel: Kernel = "auto"):
        self.kernel = kernel
        self.model = _without_weights(copy.deepcopy(model))  # so that they cannot be used by mistake
        self._dims = {name: p.ndim for name, p in model.named_parameters()}
        self._features = _Features(self.model)
        self._calls: dict[nn.Module, Call] = {module: Call(module) for module in (self.model, self._features)}

    def is_grouped(self, device: str) -> bool:
        """True if the rules and kernels of metalearn.kernels are used on this device (`cpu`, `cuda`).

        `auto` chooses them on the CPU in single or double precision. There they were faster in every measured setting
        (experiments/speed).
        """
        if self.kernel == "auto":
            return device == "cpu" and not torch.is_autocast_enabled(device)
        return self.kernel == "grouped"

    def expand(self, weights: Weights, tasks: int) -> Weights:
        """The same weights for each of `tasks` tasks: views [T, ...], in the memory order that the kernels use."""
        own = weights and self.is_grouped(next(iter(weights.values())).device.type)
        return {n: expand(w, tasks) if own else w.expand(tasks, *w.shape) for n, w in weights.items()}

    def outputs(self, weights: Weights, x: Tensor, norm: NormContext) -> tuple[Tensor, list[Tensor]]:
        """x [T, B, ...] to outputs [T, B, way] and, with `norm.collect`, each norm layer's statistics [T, 2, C]."""
        return self._apply(self.model, weights, x, norm)

    def features(self, weights: Weights, x: Tensor, norm: NormContext) -> tuple[Tensor, list[Tensor]]:
        """x [T, B, ...] to features [T, B, D] and statistics, as `outputs`."""
        return self._apply(self._features, {f"model.{name}": weight for name, weight in weights.items()}, x, norm)

    def _apply(self, module: nn.Module, weights: Weights, x: Tensor, norm: NormContext) -> tuple[Tensor, list[Tensor]]:
        if module.training != norm.training:
            module.train(norm.training)
        buffers = {name: buffer.to(x.device) for name, buffer in module.named_buffers()}
        versions = {name: buffer._version for name, buffer in buffers.items()}
        by = self._by_rules if self.is_grouped(x.device.type) else self._by_vmap
        again = partial(by, module, weights, buffers, x, norm)
        try:
            result = again()
        except RuntimeError as error:
            if (plain := explained(error, module, again)) is None:
                raise
            raise plain from error
        for name, buffer in buffers.items():
            if buffer._version != versions[name]:
                raise changed_buffer(name.removeprefix("model."))
        return result

    def _is_own(self, name: str, weight: Tensor) -> bool:
        """True if each task has a weight of its own."""
        return weight.ndim > self._dims[name.removeprefix("model.")]

    def _by_rules(
        self, module: nn.Module, weights: Weights, buffers: Weights, x: Tensor, norm: NormContext
    ) -> tuple[Tensor, list[Tensor]]:
        tasks, own = len(x), replace(norm, batch_statistics=[], masks=norm.masks and replace(norm.masks, calls=0))
        named = {n: TaskTensor(w, 0) if self._is_own(n, w) else w for n, w in weights.items()}
        with using_context(own):
            result = self._calls[module]({**named, **buffers}, TaskTensor(x, 0))
        return values_of(result, tasks), [values_of(v, tasks) for v in own.batch_statistics]

    def _by_vmap(
        self, module: nn.Module, weights: Weights, buffers: Weights, x: Tensor, norm: NormContext
    ) -> tuple[Tensor, list[Tensor]]:
        def one_task(weights: Weights, x: Tensor, task: Tensor) -> tuple[Tensor, list[Tensor]]:
            own = replace(norm, batch_statistics=[], masks=norm.masks and norm.masks.of(task))
            with using_context(own):
                return functional_call(module, (weights, buffers), (x,)), own.batch_statistics

        dims = {n: 0 if self._is_own(n, w) else None for n, w in weights.items()}
        tasks = norm.masks.ids if norm.masks else torch.zeros(len(x), dtype=torch.int64, device=x.device)
        found: tuple[Tensor, list[Tensor]] = vmap(one_task, in_dims=(dims, 0, 0))(weights, x, tasks)
        return found


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
