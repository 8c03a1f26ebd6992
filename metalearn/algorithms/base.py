"""The contract of an algorithm: `outer_loss = loss(adapt(theta, support), query)`."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import ClassVar

import torch
from torch import Tensor

from metalearn.algorithms.parameters import Adapted, MetaGradient, MetaParameters, require_batch, require_params
from metalearn.algorithms.passes import Passes
from metalearn.algorithms.settings import AlgorithmSettings
from metalearn.data.base import TaskBatch, TaskSource, require_source
from metalearn.inner.optimizers import Optimizer
from metalearn.inner.unroll import InnerLoop, Loss, make_inner_loop
from metalearn.models.checks import require_trainable
from metalearn.models.functional import Functional
from metalearn.models.head import find_head
from metalearn.models.norm import NormMode
from metalearn.models.torch_layers import pure
from metalearn.models.weights import Weights
from metalearn.runtime.errors import UserError


@dataclass(kw_only=True, eq=False)
class Algorithm(AlgorithmSettings):
    """An algorithm: pure functions of its meta-parameters.

    A subclass defines `adapt` and `task_gradients`, and overrides `init`, `sample` and `check` where its own differ.
    Its settings are those of metalearn.algorithms.settings, and its own.
    """

    unit: ClassVar[str] = "tasks"  # what meta_batch counts
    extra_kind: ClassVar[str] = "weights"  # of MetaParameters.extra in layers.csv: `weights` or `rate`
    has_inner_loop: ClassVar[bool] = True  # False: adaptation takes no gradient steps

    def __post_init__(self) -> None:
        super().__post_init__()
        self.head = find_head(self.model, self.head_layer)
        require_trainable(self.model)
        self.model = pure(self.model)
        self.objective.require_outputs(self.way, self.head.out_features)
        if self.engine.recompute and (why := self.cannot_recompute):
            raise UserError(f"engine.recompute=true: {type(self).__name__} {why}; leave it out")
        self.net = Functional(self.model, self.head, self.engine.kernel, self.engine.fused)
        self.inner: InnerLoop = make_inner_loop(self.engine.inner_loop, self.inner_optimizer)
        self.passes = Passes(self.norm, self.net.norm_channels(), self.seed)
        self.frozen: frozenset[str] = frozenset()  # parameters that no inner step changes, see `with_frozen`

    # -- what a subclass defines -----------------------------------------------------------------------------

    def init(self) -> MetaParameters:
        """The meta-parameters before any training."""
        model = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        if self.keeps_head_at_zero:
            model |= {name: torch.zeros_like(model[name]) for name in self.head.names}
        return MetaParameters(model, {}, self.passes.initial_statistics(self.inner_steps))

    def adapt(
        self,
        params: MetaParameters,
        support_x: Tensor,
        support_y: Tensor,
        training: bool = False,
        ids: Tensor | None = None,
    ) -> Iterator[Adapted]:
        """Yield the model adapted by 0, 1, 2, ... inner steps to each of T tasks, without end.

        Args:
            support_x: [T, N*K, ...]; support_y: [T, N*K] int64, or real [T, K, D].
            training: True in meta-training, where everything is kept that a meta-gradient needs. If False, the result
                of a task depends neither on the other tasks nor on earlier calls.
            ids: in meta-training, the tasks' numbers, int64 [T], from which dropout draws its masks.
        """
        raise NotImplementedError

    def task_gradients(self, params: MetaParameters, batch: TaskBatch) -> MetaGradient:
        """The meta-gradient of some tasks, as a sum over them."""
        raise NotImplementedError

    def sample(self, source: TaskSource, step: int, device: str) -> TaskBatch:
        """The meta-batch of a step: a pure function of the source's seed and the step."""
        require_source(source)
        ids = torch.arange(step * self.meta_batch, (step + 1) * self.meta_batch, device=device)
        return source.tasks(ids, self.way, self.shot, self.query)

    def check(self, source: TaskSource) -> None:
        """Raise UserError where the training source cannot give what `sample` asks for."""
        source.check(self.way, self.shot, self.query)

    def is_adapted(self, name: str) -> bool:
        """True if the inner loop adapts this parameter; tasks share the others."""
        return True

    @property
    def keeps_head_at_zero(self) -> bool:
        """True if meta-training leaves the model's own head at zero, where adaptation starts."""
        return False

    @property
    def cannot_recompute(self) -> str:
        """The reason why inner steps cannot be computed again in the backward pass; empty if they can."""
        return "has no second-order inner loop, so that there is nothing to recompute"

    def optimizer(self, params: MetaParameters, names: list[str]) -> Optimizer:
        """The inner optimizer of adapted weights with these names; it may depend on the meta-parameters."""
        optimizer: Optimizer = self.inner.optimizer
        return optimizer

    def inner_loss(self, params: MetaParameters, outputs: Tensor, y: Tensor) -> Tensor:
        """The support loss of each task, reduced as `reduction` says.

        Args:
            params: the meta-parameters, for a loss that is learned; the meta-gradient reaches every entry used here.
            outputs: [T, N*K, way], or [T, K, D] in regression.
            y: [T, N*K] int64, or [T, K, D].

        Returns:
            [T].
        """
        shots = self.objective.shot_factor(outputs.shape[-1])
        factor = {"mean": 1, "sum": y.shape[1], "shot_mean": shots}
        return self.objective.loss(outputs, y) * factor[self.reduction]

    @property
    def notice(self) -> str | None:
        """A warning about this choice of settings, in one line; None where there is nothing to warn of."""
        return None

    # -- what all share --------------------------------------------------------------------------------------

    def meta_gradient(self, params: MetaParameters, batch: TaskBatch) -> MetaGradient:
        """Compute the meta-gradient of a meta-batch by its definition: the mean over all tasks, in one pass.

        Raises:
            UserError: `params` is not a MetaParameters, or `batch` is not a TaskBatch.
        """
        require_params(params)
        require_batch(batch)
        return self.mean(params, self.task_gradients(params, batch), len(batch.support_x))

    def mean(self, params: MetaParameters, sums: MetaGradient, tasks: int) -> MetaGradient:
        """Divide sums over tasks by their number, and move the running statistics towards those of the batch."""
        means = sums.with_tensors([value / tasks for value in sums.tensors()])
        return means._replace(statistics=self.passes.averaged(params.statistics, means.statistics))

    def unroll(self, params: MetaParameters, loss: Loss, start: Weights, second_order: bool) -> Iterator[Weights]:
        """Yield the weights after 0, 1, 2, ... inner steps; see metalearn.inner.unroll.UnrolledLoop.unroll."""
        if not start:
            return repeat(start)
        return self.inner.unroll(loss, start, second_order, self.optimizer(params, list(start)))

    def split_weights(self, weights: Weights, tasks: int) -> tuple[Weights, Weights]:
        """The weights that all tasks share, and those that the inner loop adapts, as views [T, ...]."""
        own = {name: w for name, w in weights.items() if self.is_adapted(name) and name not in self.frozen}
        return {name: w for name, w in weights.items() if name not in own}, self.net.expand(own, tasks)

    def with_frozen(self, names: Iterable[str]) -> "Algorithm":
        """Return the same algorithm with an inner loop that leaves more parameters of the model as they are.

        It takes the same meta-parameters; learned rates of frozen weights have no effect.
        """
        made = copy.copy(self)
        made.frozen = self.frozen | frozenset(names)
        return made

    def predict(self, adapted: Adapted, query_x: Tensor, norm: NormMode | None = None) -> Tensor:
        """Outputs [T, B, way] for query_x [T, B, ...]: class scores, or regression values [T, B, D].

        Args:
            norm: the batch-norm mode; None for that of training.
        """
        return self.query_outputs(adapted, query_x, training=False, norm=norm)[0]

    def query_outputs(
        self, adapted: Adapted, query_x: Tensor, training: bool, norm: NormMode | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Predict, and collect the batch statistics of the pass in training with `per_step`."""
        return self.passes.over_query(self.net.outputs, adapted, query_x, training, norm)

    @property
    def recomputes(self) -> bool:
        """True if the inner loop's activations are computed again in the backward pass and not kept."""
        wanted = self.inner_steps > 10 if self.engine.recompute is None else self.engine.recompute
        return wanted and not self.cannot_recompute

    @property
    def can_replace_head(self) -> bool:
        """True if a head for another way can be initialized anew: it is not learned, or adapted alone."""
        names = [name for name, _ in self.model.named_parameters() if self.is_adapted(name)]
        return self.keeps_head_at_zero or all(name in self.head.names for name in names)
