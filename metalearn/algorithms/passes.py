"""The forward passes of an algorithm: their contexts, and the batch-norm statistics of each inner step."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metalearn.algorithms.parameters import Adapted
from metalearn.models.masks import QUERY, Masks
from metalearn.models.norm import MOMENTUM, NormContext, NormMode
from metalearn.models.weights import Weights
from metalearn.runtime.errors import UserError

Forward = Callable[[Weights, Tensor, NormContext], tuple[Tensor, list[Tensor]]]  # outputs or features, statistics


@dataclass(frozen=True)
class Passes:
    """Makes the context of each forward pass, and keeps the statistics that `norm=per_step` needs.

    Args:
        norm: the batch-norm mode, see metalearn.models.norm.
        channels: of every batch-norm layer, in the order of the model's constructor, which must be that of a pass.
        seed: of the masks of dropout.
    """

    norm: NormMode
    channels: list[int]
    seed: int

    def support(self, step: int, training: bool, ids: Tensor | None) -> NormContext:
        """The context of a pass over support images, which every mode normalizes by their batch statistics.

        Args:
            step: the number of the inner step, from 0.
            training: True in meta-training.
            ids: in meta-training, the tasks' numbers, int64 [T].
        """
        return self._context(step, None, training, ids)

    def query(self, running: list[Tensor] | None, training: bool, ids: Tensor | None = None) -> NormContext:
        """The context of a pass over query images, which are normalized together or by `running` ([2, C] by layer)."""
        return self._context(QUERY, running, training, ids)

    def over_query(
        self, forward: Forward, adapted: Adapted, x: Tensor, training: bool, norm: NormMode | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Run a model over query images.

        Args:
            forward: Functional.outputs or Functional.features.
            adapted: the model.
            x: query images [T, B, ...].
            training: True in meta-training.
            norm: another batch-norm mode than that of training.

        Returns:
            What `forward` returns for x; in training with `per_step`, with the batch statistics of the pass.
        """
        context = self.query(adapted.running_statistics, training, adapted.ids)
        if (norm or self.norm) != "support":
            return forward(adapted.weights, x, context)
        shots = adapted.support_x.shape[1]
        both = torch.cat([adapted.support_x, x], dim=1)
        found, statistics = forward(
            adapted.weights, both, replace(context, reference=shots, running=None, collect=False)
        )
        return found[:, shots:], statistics

    @property
    def mode(self) -> str:
        """The source of batch norm's statistics; `none` for a model without batch norm."""
        return self.norm if self.channels else "none"

    def _context(self, number: int, running: list[Tensor] | None, training: bool, ids: Tensor | None) -> NormContext:
        masks = Masks(self.seed, number, ids) if training and ids is not None else None
        return NormContext(
            running=running, collect=training and self.norm == "per_step", training=training, masks=masks
        )

    def initial_statistics(self, steps: int) -> list[Tensor]:
        """Running statistics before training: mean 0 and variance 1, [steps + 1, 2, C] for each layer."""
        if self.norm != "per_step":
            return []
        fresh = (torch.stack([torch.zeros(channels), torch.ones(channels)]) for channels in self.channels)
        return [layer.repeat(steps + 1, 1, 1) for layer in fresh]

    def running_statistics(self, statistics: list[Tensor], step: int, training: bool) -> list[Tensor] | None:
        """The running statistics [2, C] of each layer after `step` inner steps; None where batch statistics are used.

        Steps beyond those of meta-training use the last ones.
        """
        if self.norm != "per_step" or training:
            return None
        return [layer[min(step, len(layer) - 1)] for layer in statistics]

    def summed(self, passes: list[list[Tensor]]) -> list[Tensor]:
        """Sum batch statistics over tasks.

        Args:
            passes: for each pass of an inner loop, the statistics of each layer [T, 2, C].

        Returns:
            For each layer [S+1, 2, C].

        Raises:
            UserError: the model calls its batch-norm layers in another order than it makes them, or not once each.
        """
        if passes and passes[0] and (found := [layer.shape[-1] for layer in passes[0]]) != self.channels:
            raise UserError(
                f"norm=per_step: batch norm layers of {found} channels are called, the model has layers "
                f"of {self.channels}: call each once, in the order in which they are made"
            )
        return [torch.stack([layer.sum(0) for layer in layers]) for layers in zip(*passes, strict=True)]

    @staticmethod
    def averaged(statistics: list[Tensor], batch: list[Tensor]) -> list[Tensor]:
        """Move running statistics towards those of a meta-batch, as torch's batch norm does."""
        return [torch.lerp(old, new, MOMENTUM) for old, new in zip(statistics, batch, strict=True)]
