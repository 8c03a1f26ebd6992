"""Reptile."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from metalearn.algorithms.base import Adapted, Algorithm, Meta, MetaStep, trained
from metalearn.data.base import TaskBatch, TaskSource
from metalearn.errors import UserError
from metalearn.models.base import total


@dataclass(kw_only=True, eq=False)
class Reptile(Algorithm):
    """Move the initial weights towards the weights adapted to each task.

    Nichol, Achiam & Schulman, "On first-order meta-learning algorithms", 2018 (arxiv.org/abs/1803.02999), algorithm
    2: theta <- theta + epsilon mean(adapted - theta). The direction returned is theta - mean(adapted), so that plain
    SGD with learning rate epsilon is the paper's update, and any other outer optimiser can take its place.

    The inner loop takes small batches in turn from a larger support set, going round its classes, where the paper's
    code shuffles; the inner optimiser starts afresh on every task, where the paper's code carries Adam's moments over.

    Args:
        train_shot: images a class in the support set of a training task (the test's shots stay as they are).
        inner_batch: examples in one inner step; a smaller support set is taken whole.
        inner_batch_test: the same at evaluation.
    """

    second_order = False

    train_shot: int
    inner_batch: int
    inner_batch_test: int

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("train_shot", "inner_batch", "inner_batch_test"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")
        self.shot = self.train_shot

    def adapt(
        self, meta: Meta, support_x: Tensor, support_y: Tensor, training: bool = False, ids: Tensor | None = None
    ) -> Iterator[Adapted]:
        """Steps of the inner optimiser on successive batches of the support set."""
        count = support_x.shape[1]
        seen: list[list[Tensor]] = []
        if not self.regression:
            rows = _round_the_classes(support_y)
            support_y = support_y.gather(1, rows)
            ordered_x = support_x[torch.arange(len(rows), device=rows.device)[:, None], rows]
        else:
            ordered_x = support_x

        def loss(fast: dict[str, Tensor]) -> Tensor:
            size = min(self.inner_batch if training else self.inner_batch_test, count)
            batch = (torch.arange(size, device=support_x.device) + len(seen) * size) % count
            present = self.support_pass(len(seen), training, ids)
            outputs, statistics = self.net.outputs(fast, ordered_x[:, batch], present, twice=False)
            seen.append(statistics)
            return self.inner_loss(meta, outputs, support_y[:, batch])

        start = self.net.expand(trained(meta), len(support_x))
        for step, fast in enumerate(self.descend(meta, loss, start, second_order=False)):
            yield Adapted(fast, support_x, step, ids, self.running(meta, step, training), tuple(seen))

    def check(self, source: TaskSource) -> None:
        """As for every algorithm, with the name of the setting that is to blame."""
        try:
            super().check(source)
        except UserError as error:
            raise UserError(f"algo.train_shot={self.train_shot}: {error}, or lower algo.train_shot=") from error

    def meta_sums(self, meta: Meta, batch: TaskBatch) -> MetaStep:
        """theta - adapted, and the query loss beside it (measured, not learned from)."""
        adapted = self.adapted(meta, batch.support_x, batch.support_y, batch.ids)
        with torch.no_grad():
            outputs, seen = self.query_outputs(adapted, batch.query_x, training=True)
            gradients = {name: -total(w - meta[name]) for name, w in adapted.weights.items()}
        return MetaStep(gradients, self.metrics(outputs, batch.query_y), self.statistics([*adapted.seen, seen]))


def _round_the_classes(labels: Tensor) -> Tensor:
    """Rows in an order that goes round the classes (the first example of each, the second of each, ...): int64 [T, B].

    Successive batches of it are balanced, whatever the order of the examples.
    """
    same = labels[:, :, None] == labels[:, None, :]
    rank = same.tril().sum(2)  # which example of its class each is
    return (rank * (labels.shape[1] + 1) + labels).argsort(1)
