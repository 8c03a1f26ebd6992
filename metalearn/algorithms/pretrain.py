"""The pretraining baseline."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.parameters import Adapted, MetaGradient, MetaParameters
from metalearn.algorithms.support_loss import SupportLoss
from metalearn.data.base import TaskBatch, TaskSource
from metalearn.inner.gradients import gradients


@dataclass(kw_only=True, eq=False)
class Pretrain(Algorithm):
    """Ordinary classification over all training classes; at test a fresh head, fine-tuned on the support set.

    The baseline of Chen et al., "A closer look at few-shot classification", ICLR 2019 (arxiv.org/abs/1904.04232),
    3.2. For regression there are no classes: one network is trained on the examples of all tasks together and
    fine-tuned, the baseline of MAML's 5.1.

    Args:
        finetune: `head` adapts the fresh head alone, `all` the whole network.
    """

    unit = "examples"

    finetune: Literal["head", "all"]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inner_steps:
            raise ValueError(
                f"inner_steps={self.inner_steps}: must be 0, training has no inner loop; see inner_steps_test"
            )

    def init(self) -> MetaParameters:
        """The model's weights; for classification also a classifier over all training classes."""
        params = super().init()
        if self.labels is None:
            return params
        layer = nn.Linear(self.head.in_features, self.labels)
        classifier = {f"classifier.{name}": p.detach() for name, p in layer.named_parameters()}
        return params._replace(extra=classifier)

    @property
    def keeps_head_at_zero(self) -> bool:
        """True in classification, where the classifier over the training classes is learned and not the head."""
        return self.labels is not None

    def is_adapted(self, name: str) -> bool:
        """True for the head; with `finetune=all` for all parameters."""
        return self.finetune == "all" or name in self.head.names

    def adapt(
        self,
        params: MetaParameters,
        support_x: Tensor,
        support_y: Tensor,
        training: bool = False,
        ids: Tensor | None = None,
    ) -> Iterator[Adapted]:
        """Fine-tune by gradient descent on the support loss."""
        shared, start = self.split_weights(params.model, len(support_x))
        loss = SupportLoss(self, params, shared, list(start), support_x, support_y, training, ids)
        for step, fast in enumerate(self.unroll(params, loss, start, second_order=False)):
            running = self.passes.running_statistics(params.statistics, step, training)
            yield Adapted(shared | fast, support_x, step, ids, running, tuple(loss.batch_statistics))

    def sample(self, source: TaskSource, step: int, device: str) -> TaskBatch:
        """`meta_batch` single examples, as one task without a support set."""
        ids = torch.arange(step * self.meta_batch, (step + 1) * self.meta_batch, device=device)
        x, y = source.examples(ids)
        return TaskBatch(x[None, :0], y[None, :0], x[None], y[None], ids[:1])

    def check(self, source: TaskSource) -> None:
        """Accept every source: single examples can always be sampled."""

    def task_gradients(self, params: MetaParameters, batch: TaskBatch) -> MetaGradient:
        """The gradient of ordinary classification or regression. It is 0 for the fresh head, which is not used."""
        params = params.leaves()
        features, statistics = self.net.features(params.model, batch.query_x, self.passes.query(None, True, batch.ids))
        own = {self.head.weight: "classifier.weight", self.head.bias: "classifier.bias"} if params.extra else {}
        head = params.model | {name: params.extra[other] for name, other in own.items()}
        outputs = self.net.head_outputs(head, features)
        loss = self.objective.loss(outputs, batch.query_y).sum()
        found = dict(zip(params.learned, gradients(loss, list(params.learned.values())), strict=True))
        return MetaGradient(found, self.objective.metrics(outputs, batch.query_y), self.passes.summed([statistics]))
