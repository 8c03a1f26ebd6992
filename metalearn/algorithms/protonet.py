"""Prototypical networks: no inner loop."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.parameters import Adapted, MetaGradient, MetaParameters, nth
from metalearn.algorithms.settings import naming
from metalearn.config.checks import at_least
from metalearn.data.base import TaskBatch, TaskSource
from metalearn.inner.gradients import gradients


@dataclass(kw_only=True, eq=False)
class ProtoNet(Algorithm):
    """Classify by the nearest prototype: the mean feature of a class's support images.

    Snell, Swersky & Zemel, "Prototypical networks for few-shot learning", NeurIPS 2017 (arxiv.org/abs/1703.05175),
    algorithm 1, with the squared Euclidean distance. For a feature f and a prototype c, -|f - c|^2 = 2 c.f - |c|^2 -
    |f|^2, where |f|^2 is the same for all classes. So prototypes are a linear head with weights 2 c and biases -|c|^2
    (the paper's "Reinterpretation as a linear model"). Adaptation is one step, from a head at zero to this one. The
    number of classes may differ between training and test.

    Args:
        train_way: classes in a training task; None for as many as in a test task.
    """

    has_inner_loop: ClassVar[bool] = False

    train_way: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.objective.require_classes("algo=protonet")
        if self.train_way is not None:
            at_least(2, train_way=self.train_way)
            self.way = self.train_way

    @property
    def keeps_head_at_zero(self) -> bool:
        """True: prototypes are the head."""
        return True

    def is_adapted(self, name: str) -> bool:
        """True for the head, which prototypes replace."""
        return name in self.head.names

    def check(self, source: TaskSource) -> None:
        """Check the source; the message names `algo.train_way`, which may ask for too many classes."""
        with naming("algo.train_way", self.train_way):
            super().check(source)

    def adapt(
        self,
        params: MetaParameters,
        support_x: Tensor,
        support_y: Tensor,
        training: bool = False,
        ids: Tensor | None = None,
    ) -> Iterator[Adapted]:
        """Yield the model with its head at zero, then with the prototypes (equation 1) as its head from step 1 on."""
        features, statistics = self.net.features(params.model, support_x, self.passes.support(0, training, ids))
        way = self.way if training else int(support_y.max()) + 1
        member = F.one_hot(support_y, way).to(features.dtype)  # [T, N*K, N]
        prototypes = member.mT @ features / member.sum(1).clamp(min=1)[..., None]  # [T, N, D]
        heads = [
            {self.head.weight: torch.zeros_like(prototypes), self.head.bias: torch.zeros_like(prototypes[..., 0])},
            {self.head.weight: 2 * prototypes, self.head.bias: -prototypes.square().sum(-1)},
        ]
        for step in count():
            running = self.passes.running_statistics(params.statistics, step, training)
            weights = params.model | heads[min(step, 1)]
            yield Adapted(weights, support_x, step, ids, running, (statistics,) * self.inner_steps)

    def task_gradients(self, params: MetaParameters, batch: TaskBatch) -> MetaGradient:
        """Differentiate the query loss through the prototypes. The gradient of the model's own head is 0."""
        params = params.leaves()
        adapted = nth(self.adapt(params, batch.support_x, batch.support_y, training=True, ids=batch.ids), 1)
        outputs, statistics = self.query_outputs(adapted, batch.query_x, training=True)
        loss = self.objective.loss(outputs, batch.query_y).sum()
        found = dict(zip(params.model, gradients(loss, list(params.model.values())), strict=True))
        of_passes = self.passes.summed([*adapted.batch_statistics, statistics])
        return MetaGradient(found, self.objective.metrics(outputs, batch.query_y), of_passes)
