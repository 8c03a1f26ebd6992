"""First-order MAML."""

from dataclasses import dataclass

import torch

from metalearn.algorithms.base import Meta, MetaStep, nth, trained
from metalearn.algorithms.maml import MAML
from metalearn.data.tasks import TaskBatch


@dataclass(kw_only=True, eq=False)
class FOMAML(MAML):
    """MAML with the second derivatives left out: the query gradient *at* the adapted weights.

    Finn, Abbeel & Levine, ICML 2017 (arxiv.org/abs/1703.03400), 5.2; analysed in Nichol, Achiam & Schulman, "On
    first-order meta-learning algorithms", 2018 (arxiv.org/abs/1803.02999), equation 26 ff.
    """

    second_order = False

    def meta_sums(self, meta: Meta, batch: TaskBatch) -> MetaStep:
        """The gradient with respect to the adapted weights stands for that with respect to the meta-parameters."""
        parameters = {n: p.detach().requires_grad_() for n, p in trained(meta).items()}
        adapted = nth(self.adapt(meta | parameters, batch.support_x, batch.support_y, training=True), self.inner_steps)
        outputs, seen = self.query_outputs(adapted, batch.query_x, training=True)
        weights = adapted.weights
        grads = torch.autograd.grad(self.task_loss(outputs, batch.query_y).sum(), list(weights.values()))
        gradients = {n: g.sum(0) if g.ndim > meta[n].ndim else g for n, g in zip(weights, grads, strict=True)}
        return MetaStep(gradients, self.metrics(outputs, batch.query_y), self.statistics([*adapted.seen, seen]))
