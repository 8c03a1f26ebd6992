"""A model as a pure function of its weights, for many tasks at once."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_leaves

from metalearn.config.engine import Kernel
from metalearn.kernels import rules  # noqa: F401  (registers them)
from metalearn.kernels.layout import expand
from metalearn.kernels.modes import chains_fused
from metalearn.kernels.task_tensor import TaskTensor, values_of
from metalearn.kernels.tuning import GROUPED_ON
from metalearn.models.call import Call
from metalearn.models.checks import check_model, example
from metalearn.models.failures import changed_state, explained
from metalearn.models.head import Head, without_head
from metalearn.models.norm import BatchNorm, NormContext, using_context
from metalearn.models.weights import Weights


class Functional:
    """A model as a pure function of its weights, for many tasks at once.

    Each weight may have the model's own shape (shared by all tasks) or a leading task dimension [T, ...]. The first
    pass checks the model, see `check`.

    Args:
        model: maps inputs [B, ...] to outputs [B, way]; with the layers of metalearn.models.torch_layers.pure.
        head: of the model.
        kernel: `grouped` batches operations over tasks by the rules and kernels of metalearn.kernels, `vmap` by
            torch.func.vmap; `auto` chooses, see `is_grouped`.
        fused: False computes layer by layer what `grouped` would compute as one function.

    Attributes:
        is_checked: True if the model needs no check any more.
    """

    def __init__(self, model: nn.Module, head: Head, kernel: Kernel = "auto", fused: bool = True):
        self.kernel, self.fused, self.head = kernel, fused, head
        self._given = model
        self.is_checked = False
        self._model = _without_weights(copy.deepcopy(model))  # so that they cannot be used by mistake
        self._body = without_head(self._model, head)
        self._calls: dict[nn.Module, Call] = {module: Call(module) for module in (self._model, self._body)}
        self._dims = {name: p.ndim for name, p in model.named_parameters()}

    def norm_channels(self) -> list[int]:
        """Channels of every batch-norm layer, in the order in which the model's constructor makes them."""
        return [layer.channels for layer in self._model.modules() if isinstance(layer, BatchNorm)]

    @cached_property
    def norm_parameters(self) -> set[str]:
        """Names of batch norm's gamma and beta."""
        layers = [name for name, layer in self._model.named_modules() if isinstance(layer, BatchNorm)]
        return {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}

    @cached_property
    def parameter_count(self) -> int:
        """Number of values of all parameters of the model."""
        return sum(p.numel() for p in self._model.parameters())

    def is_grouped(self, device: str) -> bool:
        """True if the rules and kernels of metalearn.kernels are used on this device (`cpu`, `cuda`).

        `auto` chooses them on the devices of metalearn.kernels.tuning.GROUPED_ON, in single or double precision.
        """
        if self.kernel == "auto":
            return device in GROUPED_ON and not torch.is_autocast_enabled(device)
        return self.kernel == "grouped"

    def expand(self, weights: Weights, tasks: int) -> Weights:
        """The same weights for each of `tasks` tasks: views [T, ...], in the memory order that the kernels use."""
        own = weights and self.is_grouped(next(iter(weights.values())).device.type)
        return {n: expand(w, tasks) if own else w.expand(tasks, *w.shape) for n, w in weights.items()}

    def outputs(self, weights: Weights, x: Tensor, norm: NormContext) -> tuple[Tensor, list[Tensor]]:
        """x [T, B, ...] to outputs [T, B, way] and, with `norm.collect`, each norm layer's statistics [T, 2, C]."""
        if not self.is_checked:
            self.check(x.shape[2:])
        if self.head.bias in weights and not self.head.has_bias:  # prototypes have one
            features, statistics = self.features(weights, x, norm)
            return self.head.outputs(weights, features), statistics
        return self._apply(self._model, weights, x, norm)

    def features(self, weights: Weights, x: Tensor, norm: NormContext) -> tuple[Tensor, list[Tensor]]:
        """x [T, B, ...] to features [T, B, D] and statistics, as `outputs`."""
        if not self.is_checked:
            self.check(x.shape[2:])
        head = (self.head.weight, self.head.bias)
        return self._apply(self._body, {n: w for n, w in weights.items() if n not in head}, x, norm)

    def head_outputs(self, weights: Weights, features: Tensor) -> Tensor:
        """Features [T, B, D] to outputs [T, B, way]."""
        return self.head.outputs(weights, features)

    def of_task(self, weights: Weights, task: int) -> Weights:
        """The weights of one of T tasks, each of the parameter's own shape."""
        return {name: w[task] if self._is_own(name, w) else w for name, w in weights.items()}

    def watched_outputs(
        self, weights: Weights, x: Tensor, norm: NormContext, watch: Mapping[str, Callable[[Tensor], None]]
    ) -> Tensor:
        """Run the model over the inputs of one task, layer by layer, while functions look at what its modules give.

        Args:
            weights: from `of_task`.
            x: [B, ...].
            norm: the context of the pass.
            watch: by name of a module: called with the output of each of its calls. The next layer may change this
                tensor in place.

        Returns:
            The outputs [B, way].
        """

        def show(look: Callable[[Tensor], None], *call: Any) -> None:
            tensors = [leaf for leaf in tree_leaves(call[-1]) if isinstance(leaf, Tensor)]
            if tensors:
                look(tensors[0])

        self._model.train(norm.training)
        buffers = {name: buffer.to(x.device) for name, buffer in self._model.named_buffers()}
        hooks = [self._model.get_submodule(n).register_forward_hook(partial(show, look)) for n, look in watch.items()]
        try:
            with using_context(replace(norm, batch_statistics=[])):
                outputs: Tensor = functional_call(self._model, (weights, buffers), (x,))
        finally:
            for hook in hooks:
                hook.remove()
        return outputs

    def check(self, shape: Sequence[int]) -> None:
        """Check the model on inputs of a shape: by itself, and over two tasks at once.

        Args:
            shape: of one input.

        Raises:
            UserError: see metalearn.models.checks.check_model, or the model cannot run over many tasks; in one line.
        """
        check_model(self._given, self.head, shape)
        x = example(self._given, shape)
        with torch.no_grad():
            weights = {n: p.detach().expand(2, *p.shape) for n, p in self._given.named_parameters()}
            for training in (False, True):
                self._apply(self._model, weights, torch.stack([x, x.flip(0)]), NormContext(training=training))
        self.is_checked = True

    def _apply(self, module: nn.Module, weights: Weights, x: Tensor, norm: NormContext) -> tuple[Tensor, list[Tensor]]:
        if module.training != norm.training:
            module.train(norm.training)
        buffers = {name: buffer.to(x.device) for name, buffer in module.named_buffers()}
        versions = {name: buffer._version for name, buffer in buffers.items()}
        by = self._by_rules if self.is_grouped(x.device.type) else self._by_vmap
        again = partial(by, module, weights, buffers, x, norm)
        try:
            result = again()
        except Exception as error:
            if (plain := explained(error, module, again, certain=not self.is_checked)) is None:
                raise
            raise plain from error
        for name, buffer in buffers.items():
            if buffer._version != versions[name]:
                raise changed_state(module, name)
        return result

    def _is_own(self, name: str, weight: Tensor) -> bool:
        """True if each task has a weight of its own."""
        return weight.ndim > self._dims[name]

    def _by_rules(
        self, module: nn.Module, weights: Weights, buffers: Weights, x: Tensor, norm: NormContext
    ) -> tuple[Tensor, list[Tensor]]:
        tasks, own = len(x), replace(norm, batch_statistics=[], masks=norm.masks and replace(norm.masks, calls=0))
        named = {n: TaskTensor(w, 0) if self._is_own(n, w) else w for n, w in weights.items()}
        with using_context(own), chains_fused(self.fused):
            result = values_of(self._calls[module]({**named, **buffers}, TaskTensor(x, 0)), tasks)
        return result, [values_of(v, tasks) for v in own.batch_statistics]

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


def _without_weights(model: nn.Module) -> nn.Module:
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
