"""Reptile."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.parameters import Adapted, MetaGradient, MetaParameters, nth
from metalearn.algorithms.settings import naming
from metalearn.config.checks import at_least
from metalearn.data.base import TaskBatch, TaskSource
from metalearn.models.functional import sum_over_tasks
from metalearn.models.weights import Weights


@dataclass(kw_only=True, eq=False)
class Reptile(Algorithm):
    """Move the initial weights towards the weights adapted to each task.

    Nichol, Achiam & Schulman, "On first-order meta-learning algorithms", 2018 (arxiv.org/abs/1803.02999), algorithm
    2: theta <- theta + epsilon mean(adapted - theta). The direction returned is theta - mean(adapted), so that plain
    SGD with learning rate epsilon is the paper's update, and any other outer optimizer can be used.

    There are two differences from the paper's code. Inner steps take small batches of a larger support set in turn,
    balanced over its classes; the paper's code shuffles. The inner optimizer starts anew on every task; the paper's
    code keeps Adam's moments from task to task.

    Args:
        train_shot: images a class in the support set of a training task (the test's shots stay as they are).
        inner_batch: examples in one inner step; a smaller support set is taken whole.
        inner_batch_test: the same at evaluation.
    """

    train_shot: int
    inner_batch: int
    inner_batch_test: int

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, train_shot=self.train_shot, inner_batch=self.inner_batch, inner_batch_test=self.inner_batch_test)
        self.shot = self.train_shot

    def adapt(
        self,
        params: MetaParameters,
        support_x: Tensor,
        support_y: Tensor,
        training: bool = False,
        ids: Tensor | None = None,
    ) -> Iterator[Adapted]:
        """Take steps of the inner optimizer on successive batches of the support set."""
        count = support_x.shape[1]
        size = min(self.inner_batch if training else self.inner_batch_test, count)
        batch_statistics: list[list[Tensor]] = []
        order = self.objective.balanced_order(support_y)
        tasks = torch.arange(len(order), device=order.device)[:, None]
        x, y = support_x[tasks, order], support_y[tasks, order]

        def loss(fast: Weights) -> Tensor:
            rows = (torch.arange(size, device=x.device) + len(batch_statistics) * size) % count
            context = self.passes.support(len(batch_statistics), training, ids)
            outputs, statistics = self.net.outputs(shared | fast, x[:, rows], context)
            batch_statistics.append(statistics)
            return self.inner_loss(params, outputs, y[:, rows])

        shared, start = self.split_weights(params.model, len(support_x))
        for step, fast in enumerate(self.unroll(params, loss, start, second_order=False)):
            running = self.passes.running_statistics(params.statistics, step, training)
            yield Adapted(shared | fast, support_x, step, ids, running, tuple(batch_statistics))

    def check(self, source: TaskSource) -> None:
        """Check the source; the message names `algo.train_shot`, which may ask for too many images."""
        with naming("algo.train_shot", self.train_shot):
            super().check(source)

    def task_gradients(self, params: MetaParameters, batch: TaskBatch) -> MetaGradient:
        """Sum theta - adapted over tasks. The query loss is measured; nothing is learned from it."""
        path = self.adapt(params, batch.support_x, batch.support_y, training=True, ids=batch.ids)
        adapted = nth(path, self.inner_steps)
        with torch.no_grad():
            outputs, statistics = self.query_outputs(adapted, batch.query_x, training=True)
            gradients = {name: _back(w, params.model[name]) for name, w in adapted.weights.items()}
        return MetaGradient(
            gradients,
            self.objective.metrics(outputs, batch.query_y),
            self.passes.summed([*adapted.batch_statistics, statistics]),
        )


def _back(adapted: Tensor, start: Tensor) -> Tensor:
    """The sum over tasks of start - adapted.

    Args:
        adapted: [T, ...]; of the shape of `start` where the inner loop does not adapt it.
    """
    return -sum_over_tasks(adapted - start) if adapted.ndim > start.ndim else torch.zeros_like(start)
