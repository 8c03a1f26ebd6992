"""The contract of an algorithm: `outer_loss = loss(adapt(theta, support), query)`."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor

from metalearn.algorithms.objective import Objective
from metalearn.algorithms.parameters import Adapted, MetaGradient, MetaParameters, layer_of
from metalearn.algorithms.passes import Passes
from metalearn.config.checks import at_least
from metalearn.config.engine import EngineSettings
from metalearn.data.base import TaskBatch, TaskSource
from metalearn.errors import UserError
from metalearn.inner.optimizers import Optimizer
from metalearn.inner.unroll import InnerLoop, Loss, make_inner_loop
from metalearn.models.base import HEAD, MetaModel, Weights
from metalearn.models.functional import Functional
from metalearn.models.norm import NormMode
from metalearn.models.torch_layers import pure

Item = TypeVar("Item")


@dataclass(kw_only=True, eq=False)
class Algorithm:
    """An algorithm: pure functions of its meta-parameters.

    A subclass defines `adapt` and `task_gradients`; `init`, `sample` and `check` where they differ.

    Args:
        model: the architecture and the initial weights.
        objective: the loss and the score, see metalearn.algorithms.objective.
        way, shot, query: of the training tasks.
        norm: how batch norm gets its statistics, see metalearn.models.norm.
        labels: classes of the training source, for algorithms that classify over all of them; None in regression.
        meta_batch: tasks (or single examples) in a meta-step.
        inner_steps: inner-loop steps in meta-training.
        inner_steps_test: inner-loop steps at evaluation.
        inner_optimizer: {name: SGD or Adam, lr: ..., ...}; see metalearn.inner.unroll.make_inner_loop for others.
        reduction: of the inner loss over a support set: `mean` over examples; `sum`; or `shot_mean`, the sum over
            classes of the mean over a class's shots, N times `mean`: the hidden factor of the original MAML code.
        seed: of the random masks of dropout.
        engine: how gradients are computed, see metalearn.config.engine.
    """

    unit: ClassVar[str] = "tasks"  # what meta_batch counts
    extra_kind: ClassVar[str] = "weights"  # of the layers in MetaParameters.extra, in layers.csv: `weights` or `rate`

    model: MetaModel
    objective: Objective
    way: int
    shot: int
    query: int
    norm: NormMode
    labels: int | None
    meta_batch: int
    inner_steps: int
    inner_steps_test: int
    inner_optimizer: dict[str, Any] = field(default_factory=lambda: {"name": "SGD", "lr": 0.1})
    reduction: Literal["mean", "sum", "shot_mean"] = "mean"
    seed: int = 0
    engine: EngineSettings = field(default_factory=EngineSettings)

    def __post_init__(self) -> None:
        if not isinstance(self.model, MetaModel):
            raise UserError(
                f"model={type(self.model).__name__}: must be a metalearn.models.base.MetaModel, with a head"
            )
        self.model = pure(self.model)
        at_least(1, meta_batch=self.meta_batch)
        at_least(0, inner_steps=self.inner_steps, inner_steps_test=self.inner_steps_test)
        self.require_outputs(self.way)
        if self.engine.recompute and (why := self.cannot_recompute):
            raise UserError(f"engine.recompute=true: {type(self).__name__} {why}; leave it out")
        self.net = Functional(self.model, self.engine.kernel)
        self.inner: InnerLoop = make_inner_loop(self.engine.inner_loop, self.inner_optimizer)
        self.passes = Passes(self.norm, self.model.norm_channels(), self.seed)

    # -- what a subclass defines -----------------------------------------------------------------------------

    def init(self) -> MetaParameters:
        """The meta-parameters before any training."""
        model = {name: p.detach().clone() for name, p in self.model.named_parameters()}
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
            training: keep what a meta-gradient needs. Without it nothing depends on other tasks or on history.
            ids: in meta-training, the tasks' numbers, int64 [T], from which dropout draws its masks.
        """
        raise NotImplementedError

    def task_gradients(self, params: MetaParameters, batch: TaskBatch) -> MetaGradient:
        """The meta-gradient of some tasks, each entry summed over them."""
        raise NotImplementedError

    def sample(self, source: TaskSource, step: int, device: str) -> TaskBatch:
        """The meta-batch of a step: a pure function of the source's seed and the step."""
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
        """True if the model's own head is never learned: adaptation begins without one."""
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

    def require_outputs(self, way: int) -> None:
        """Raise UserError where the head has fewer outputs than a task has classes."""
        outputs = self.model.head.out_features
        if not self.objective.fits(way, outputs):
            raise UserError(f"way={way}: the model's head has {outputs} outputs")

    # -- what all share --------------------------------------------------------------------------------------

    def meta_gradient(self, params: MetaParameters, batch: TaskBatch) -> MetaGradient:
        """The direction for the outer optimizer, by definition: means over the tasks of a meta-batch, all at once."""
        return self.mean(params, self.task_gradients(params, batch), len(batch.support_x))

    def mean(self, params: MetaParameters, sums: MetaGradient, tasks: int) -> MetaGradient:
        """Divide sums over tasks by their number, and move the running statistics."""
        means = sums.with_tensors([value / tasks for value in sums.tensors()])
        return means._replace(statistics=self.passes.averaged(params.statistics, means.statistics))

    def unroll(self, params: MetaParameters, loss: Loss, start: Weights, second_order: bool) -> Iterator[Weights]:
        """Yield the weights after 0, 1, 2, ... inner steps; see metalearn.inner.unroll.UnrolledLoop.unroll."""
        return self.inner.unroll(loss, start, second_order, self.optimizer(params, list(start)))

    def split_weights(self, weights: Weights, tasks: int) -> tuple[Weights, Weights]:
        """The weights that all tasks share, and those that the inner loop adapts, as views [T, ...]."""
        shared = {name: w for name, w in weights.items() if not self.is_adapted(name)}
        return shared, self.net.expand({name: w for name, w in weights.items() if self.is_adapted(name)}, tasks)

    def predict(self, adapted: Adapted, query_x: Tensor, norm: NormMode | None = None) -> Tensor:
        """Outputs [T, B, way] for query_x [T, B, ...]: class scores, or regression values [T, B, D].

        Args:
            norm: another batch-norm mode than that of training.
        """
        return self.query_outputs(adapted, query_x, training=False, norm=norm)[0]

    def query_outputs(
        self, adapted: Adapted, query_x: Tensor, training: bool, norm: NormMode | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Predict, and collect the batch statistics of the pass in training with `per_step`."""
        context = self.passes.query(adapted.running_statistics, training, adapted.ids)
        if (norm or self.norm) == "support":
            shots = adapted.support_x.shape[1]
            both = torch.cat([adapted.support_x, query_x], dim=1)
            context = replace(context, reference=shots, running=None, collect=False)
            outputs, statistics = self.net.outputs(adapted.weights, both, context)
            return outputs[:, shots:], statistics
        return self.net.outputs(adapted.weights, query_x, context)

    def metrics(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Query loss and score, summed over tasks."""
        with torch.no_grad():
            objective = self.objective
            return {"loss": objective.loss(outputs, y).sum(), objective.name: objective.score(outputs, y).sum()}

    @property
    def recomputes(self) -> bool:
        """True if the inner loop's activations are computed again in the backward pass and not kept."""
        wanted = self.inner_steps > 10 if self.engine.recompute is None else self.engine.recompute
        return wanted and not self.cannot_recompute

    @property
    def can_replace_head(self) -> bool:
        """True if a head for another way can be initialized anew: the inner loop adapts the head alone."""
        names = [name for name, _ in self.model.named_parameters() if self.is_adapted(name)]
        return self.keeps_head_at_zero or all(name in HEAD for name in names)

    @property
    def norm_mode(self) -> str:
        """The source of batch norm's statistics; `none` for a model without batch norm."""
        return self.norm if self.model.norm_channels() else "none"

    @property
    def notice(self) -> str | None:
        """A warning about this choice of settings, in one line; None where there is nothing to warn of."""
        return None

    def kinds_of_layers(self, params: MetaParameters) -> dict[str, str]:
        """The kind of each layer: `norm` (gamma and beta), `rate` (learned inner rates) or `weights`."""
        norms = self.model.norm_parameters()
        kinds = {layer_of(name): "norm" if name in norms else "weights" for name in params.model}
        return kinds | {layer_of(name): self.extra_kind for name in params.extra}


def nth(items: Iterator[Item], n: int) -> Item:
    """Item number n of an iterator."""
    return next(islice(items, n, None))
