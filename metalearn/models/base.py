"""What an algorithm needs of a model, and its application to one set of weights a task."""

import copy
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from metalearn.kernels.grouped import expand
from metalearn.models.failures import changed_buffer, explained
from metalearn.models.norm import BatchNorm, Pass, during

EngineName = Literal["auto", "grouped", "vmap", "higher"]
Weights = dict[str, Tensor]  # by parameter name; with a leading task dimension where they differ between tasks


class MetaModel(nn.Module):
    """A backbone with a linear head. Subclasses set `head` and define `features`."""

    head: nn.Linear

    def features(self, x: Tensor, norm: Pass) -> Tensor:
        """Inputs [B, ...] to features [B, D]."""
        raise NotImplementedError

    def forward(self, x: Tensor, norm: Pass) -> Tensor:
        """Inputs [B, ...] to outputs [B, way]."""
        outputs: Tensor = self.head(self.features(x, norm))
        return outputs

    def stacked(self, weights: Weights, x: Tensor, norm: Pass, twice: bool) -> Tensor:
        """`features` of many tasks at once by kernels of a model's own, where it has them: what `grouped` runs.

        Args:
            weights: by name, of the parameter's own shape, or [T, ...] where they differ between tasks.
            x: [T, B, ...].
            norm: as in `features`; what is seen is a statistic of [2, T*C], task by task.
            twice: whether second derivatives may be asked for.

        Returns:
            features [T, B, D].
        """
        raise NotImplementedError

    @property
    def stacks(self) -> bool:
        """Whether it has such kernels, and of the same forward pass: a subclass with another one has lost them."""
        line = type(self).__mro__
        first = {name: next(i for i, c in enumerate(line) if name in vars(c)) for name in ("stacked", "features")}
        own = type(self).stacked is not MetaModel.stacked and type(self).forward is MetaModel.forward
        return own and first["stacked"] <= first["features"]

    def norm_channels(self) -> list[int]:
        """Channels of every batch-norm layer, in the order in which a forward pass meets them."""
        return [m.channels for m in self.modules() if isinstance(m, BatchNorm)]

    def norm_parameters(self) -> set[str]:
        """Names of batch norm's gamma and beta."""
        layers = [name for name, module in self.named_modules() if isinstance(module, BatchNorm)]
        return {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}


class _Features(nn.Module):
    """`features` behind `forward`, which is what functional_call calls."""

    def __init__(self, model: MetaModel):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, norm: Pass) -> Tensor:
        return self.model.features(x, norm)


class Functional:
    """A model as a pure function of its weights, for many tasks at once.

    Each weight may have the model's own shape (shared by all tasks) or a leading task dimension [T, ...].

    Args:
        engine: `grouped` runs the model's own kernels for many tasks, `vmap` its ordinary forward pass under
            torch.func.vmap; `auto` chooses, see `grouped`.
    """

    def __init__(self, model: MetaModel, engine: EngineName = "auto"):
        self.engine = engine
        self.model = _without_weights(copy.deepcopy(model))  # none can be used by mistake
        self._dims = {name: p.ndim for name, p in model.named_parameters()}
        self._features = _Features(self.model)

    def grouped(self, device: str) -> bool:
        """Whether the model's own kernels run on this device (`cpu`, `cuda`).

        With `auto` on the CPU in single or double precision, where they were measured to be the faster ones in every
        setting (experiments/speed), and where the model has some.
        """
        if self.engine == "auto":
            return self.model.stacks and device == "cpu" and not torch.is_autocast_enabled(device)
        return self.engine == "grouped"

    def expand(self, weights: Weights, tasks: int) -> Weights:
        """The same weights for each of `tasks` tasks: views [T, ...], in the memory order that the engine likes."""
        own = weights and self.grouped(next(iter(weights.values())).device.type)
        return {n: expand(w, tasks) if own else w.expand(tasks, *w.shape) for n, w in weights.items()}

    def outputs(self, weights: Weights, x: Tensor, norm: Pass, twice: bool = True) -> tuple[Tensor, list[Tensor]]:
        """x [T, B, ...] to outputs [T, B, way] and, with `norm.collect`, each norm layer's statistics [T, 2, C].

        Without `twice`, what comes out need not be differentiable more than once, which is cheaper.
        """
        if self.grouped(x.device.type):
            features, seen = self._stacked(weights, x, norm, twice)
            return linear(weights, features), seen
        return self._apply(self.model, weights, x, norm)

    def features(self, weights: Weights, x: Tensor, norm: Pass) -> tuple[Tensor, list[Tensor]]:
        """x [T, B, ...] to features [T, B, D] and statistics, as `outputs` without `twice`."""
        if self.grouped(x.device.type):
            return self._stacked(weights, x, norm, twice=False)
        named = {f"model.{name}": weight for name, weight in weights.items()}
        return self._apply(self._features, named, x, norm)

    def _stacked(self, weights: Weights, x: Tensor, norm: Pass, twice: bool) -> tuple[Tensor, list[Tensor]]:
        tasks = len(x)
        running = None if norm.running is None else [v.repeat(1, tasks) for v in norm.running]
        every = replace(norm, running=running, seen=[])
        features = self.model.stacked(weights, x, every, twice)
        return features, [v.unflatten(1, (tasks, -1)).movedim(1, 0) for v in every.seen]

    def _apply(self, module: nn.Module, weights: Weights, x: Tensor, norm: Pass) -> tuple[Tensor, list[Tensor]]:
        buffers = {name: buffer.to(x.device) for name, buffer in module.named_buffers()}

        def one_task(weights: Weights, x: Tensor, task: Tensor) -> tuple[Tensor, list[Tensor]]:
            own = replace(norm, seen=[], masks=norm.masks and norm.masks.of(task))
            with during(own):
                return functional_call(module, (weights, buffers), (x, own)), own.seen

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


def total(x: Tensor) -> Tensor:
    """The sum over tasks of x [T, ...], by way of the order in memory: many times faster where channels lie last."""
    order = sorted(range(1, x.ndim), key=x.stride, reverse=True)
    return x.permute(0, *order).sum(0).permute([order.index(d) for d in range(1, x.ndim)])


def linear(weights: Weights, features: Tensor) -> Tensor:
    """The head alone: features [T, B, D] to outputs [T, B, way]; `head.weight` is [T, way, D] or [way, D]."""
    weight, bias = weights["head.weight"], weights["head.bias"]
    return features @ weight.mT + (bias[:, None] if bias.ndim == 2 else bias)
