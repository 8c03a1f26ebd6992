"""MAML, second order."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.parameters import Adapted, MetaGradient, MetaParameters, nth
from metalearn.algorithms.support_loss import SupportLoss
from metalearn.data.base import TaskBatch
from metalearn.inner.gradients import gradients
from metalearn.inner.optimizers import Optimizer
from metalearn.inner.recompute import recomputed
from metalearn.models.weights import Weights
from metalearn.runtime.errors import UserError


@dataclass(kw_only=True, eq=False)
class MAML(Algorithm):
    """Learn initial weights that a few gradient steps on a support set adapt well to a new task.

    Finn, Abbeel & Levine, "Model-agnostic meta-learning for fast adaptation of deep networks", ICML 2017
    (arxiv.org/abs/1703.03400), algorithm 2. The meta-gradient goes through the inner loop, second derivatives included.

    Args:
        adapt_norm: True if the inner loop adapts batch norm's gamma and beta (the original code does not).
        zero_head: True if every inner loop starts from a head at zero, which is not learned (the zeroing trick of Kao,
            Chiu & Chen, "MAML is a noisy contrastive learner in classification", ICLR 2022, arxiv.org/abs/2106.15367).
    """

    second_order: ClassVar[bool] = True  # the meta-gradient goes through the inner gradients

    adapt_norm: bool = True
    zero_head: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.zero_head and not any(self.is_adapted(name) for name in self.head.names):
            raise UserError(
                f"algo.zero_head=true: {type(self).__name__} does not adapt the head, which would stay at zero"
            )

    @property
    def keeps_head_at_zero(self) -> bool:
        """True with `zero_head`."""
        return self.zero_head

    def is_adapted(self, name: str) -> bool:
        """True; for batch norm's gamma and beta only with `adapt_norm`."""
        return self.adapt_norm or name not in self.net.norm_parameters

    def start(self, params: MetaParameters) -> Weights:
        """The weights at which every inner loop starts."""
        head = {name: 0 * params.model[name] for name in self.head.names} if self.zero_head else {}
        return params.model | head

    def adapt(
        self,
        params: MetaParameters,
        support_x: Tensor,
        support_y: Tensor,
        training: bool = False,
        ids: Tensor | None = None,
    ) -> Iterator[Adapted]:
        """Descend the support loss: lines 6 and 7 of algorithm 2, once for each inner step."""
        shared, start = self.split_weights(self.start(params), len(support_x))
        loss = SupportLoss(self, params, shared, list(start), support_x, support_y, training, ids)
        for step, fast in enumerate(self.unroll(params, loss, start, training and self.second_order)):
            running = self.passes.running_statistics(params.statistics, step, training)
            yield Adapted(shared | fast, support_x, step, ids, running, tuple(loss.batch_statistics))

    def task_gradients(self, params: MetaParameters, batch: TaskBatch) -> MetaGradient:
        """Differentiate the query loss after the inner loop, summed over tasks, as in line 10 of algorithm 2."""
        params = params.leaves()
        adapted = self.adapted(params, batch.support_x, batch.support_y, batch.ids)
        outputs, statistics = self.query_outputs(adapted, batch.query_x, training=True)
        loss = self.objective.loss(outputs, batch.query_y).sum()
        gradient = self.differentiate(loss, params, adapted)
        if self.zero_head:
            gradient |= {name: torch.zeros_like(gradient[name]) for name in self.head.names}
        statistics_of_all = self.passes.summed([*adapted.batch_statistics, statistics])
        return MetaGradient(gradient, self.objective.metrics(outputs, batch.query_y), statistics_of_all)

    def differentiate(self, loss: Tensor, params: MetaParameters, adapted: Adapted) -> Weights:
        """The gradient of the summed query loss, by name of the learned entry."""
        learned = params.learned
        return dict(zip(learned, gradients(loss, list(learned.values())), strict=True))

    def adapted(
        self, params: MetaParameters, support_x: Tensor, support_y: Tensor, ids: Tensor | None = None
    ) -> Adapted:
        """Run the inner loop of meta-training; its graph is kept, or computed again in the backward pass."""
        if not self.recomputes:
            return nth(self.adapt(params, support_x, support_y, training=True, ids=ids), self.inner_steps)
        shared, start = self.split_weights(self.start(params), len(support_x))

        def loss(step: int, learned: Weights, fast: Weights) -> Tensor:
            here = params.with_learned(learned)
            weights = {name: value for name, value in here.model.items() if name not in start}
            outputs, _ = self.net.outputs(weights | fast, support_x, self.passes.support(step, True, ids))
            return self.inner_loss(here, outputs, support_y)

        def optimizer(learned: Weights) -> Optimizer:
            return self.optimizer(params.with_learned(learned), list(start))

        fast = recomputed(loss, optimizer, start, params.learned, self.inner_steps)
        return Adapted(shared | fast, support_x, self.inner_steps, ids)

    @property
    def cannot_recompute(self) -> str:
        """The reason why inner steps cannot be computed again in the backward pass; empty if they can."""
        reasons = {
            "is of first order, so that there is nothing to recompute": not self.second_order,
            "cannot recompute with engine.inner_loop=higher": self.engine.inner_loop == "higher",
            "cannot recompute with norm=per_step, whose statistics of every step are kept": self.norm == "per_step",
        }
        return next((reason for reason, holds in reasons.items() if holds), "")

    @property
    def notice(self) -> str | None:
        """A warning about training without adaptation, or about second derivatives of Adam in the library `higher`."""
        if self.inner_steps == 0:
            return "algo.inner_steps=0: nothing is adapted in training, but the test adapts"
        if self.engine.inner_loop == "higher" and self.inner_optimizer["name"] == "Adam" and self.second_order:
            return (
                "engine.inner_loop=higher: second derivatives of its Adam differ from torch's formula where "
                "inner gradients are near 0 (up to 31.6 times smaller); unrolled follows torch"
            )
        return None
