"""The pretraining baseline."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

from metalearn.algorithms.base import Algorithm, Meta, MetaStep, trained
from metalearn.data.base import TaskBatch, TaskSource
from metalearn.models.base import Weights

CLASSIFIER = "classifier."  # prefix of the head over all training classes


@dataclass(kw_only=True, eq=False)
class Pretrain(Algorithm):
    """Ordinary classification over all training classes; at test a fresh head, fine-tuned on the support set.

    The baseline of Chen et al., "A closer look at few-shot classification", ICLR 2019 (arxiv.org/abs/1904.04232),
    3.2. For regression there are no classes: one network is trained on the examples of all tasks together and
    fine-tuned, the baseline of MAML's 5.1.

    Args:
        finetune: `head` adapts the fresh head alone, `all` the whole network.
    """

    second_order = False
    unit = "examples"

    finetune: Literal["head", "all"]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inner_steps:
            raise ValueError(
                f"inner_steps={self.inner_steps}: must be 0, training has no inner loop; see inner_steps_test"
            )

    def init(self) -> Meta:
        """The model's weights; for classification with a head at zero and a classifier over all training classes."""
        meta = super().init()
        if self.labels is not None:
            layer = torch.nn.Linear(self.model.head.in_features, self.labels)
            meta |= {name: torch.zeros_like(w) for name, w in meta.items() if name.startswith("head.")}
            meta |= {CLASSIFIER + name: p.detach() for name, p in layer.named_parameters()}
        return meta

    def adapts(self, name: str) -> bool:
        """The head, or everything."""
        return self.finetune == "all" or name.startswith("head.")

    def weights(self, meta: Meta) -> Weights:
        """Without the classifier over the training classes, which has no part in adaptation."""
        return {name: value for name, value in super().weights(meta).items() if not name.startswith(CLASSIFIER)}

    def draw(self, source: TaskSource, step: int, device: str) -> TaskBatch:
        """`meta_batch` single examples, as one task without a support set."""
        ids = torch.arange(step * self.meta_batch, (step + 1) * self.meta_batch, device=device)
        x, y = source.examples(ids)
        return TaskBatch(x[None, :0], y[None, :0], x[None], y[None], ids[:1])

    def check(self, source: TaskSource) -> None:
        """Single examples can always be dealt."""

    def meta_sums(self, meta: Meta, batch: TaskBatch) -> MetaStep:
        """An ordinary classification (or regression) gradient."""
        parameters = {n: p.detach().requires_grad_() for n, p in trained(meta).items()}
        body = {n: p for n, p in parameters.items() if not n.startswith(CLASSIFIER)}
        features, seen = self.net.features(body, batch.query_x, self.query_pass(None, True, batch.ids))
        head = "head." if self.labels is None else CLASSIFIER
        outputs = F.linear(features, parameters[f"{head}weight"], parameters[f"{head}bias"])
        loss = self.task_loss(outputs, batch.query_y).sum()
        gradients = self.differentiate(loss, parameters, {})  # 0 for the fresh head, which has no part in it
        return MetaStep(gradients, self.metrics(outputs, batch.query_y), self.statistics([seen]))
