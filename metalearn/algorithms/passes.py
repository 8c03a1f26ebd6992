"""The forward passes of an algorithm: their contexts, and the batch-norm statistics of each inner step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metalearn.errors import UserError
from metalearn.models.masks import QUERY, Masks
from metalearn.models.norm import MOMENTUM, NormContext, NormMode


@dataclass(frozen=True)
class Passes:
    """Makes the context of each forward pass, and keeps the statistics that `norm=per_step` needs.

    Args:
        norm: the batch-norm mode, see metalearn.models.norm.
        channels: of every batch-norm layer, in the order of a forward pass.
        seed: of the masks of dropout.
    """

    norm: NormMode
    channels: list[int]
    seed: int

    def support(self, step: int, training: bool, ids: Tensor | None) -> NormContext:
        """A pass over support images at an inner step; every mode normalizes them by their batch statistics."""
        return self._context(step, None, training, ids)

    def query(self, running: list[Tensor] | None, training: bool, ids: Tensor | None = None) -> NormContext:
        """A pass over query images, which are normalized together, or by running statistics."""
        return self._context(QUERY, running, training, ids)

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
        """The running statistics of an inner step (the last one's beyond it); None where batch statistics serve."""
        if self.norm != "per_step" or training:
            return None
        return [layer[min(step, len(layer) - 1)] for layer in statistics]

    def summed(self, passes: list[list[Tensor]]) -> list[Tensor]:
        """Sum batch statistics over tasks.

        Args:
            passes: for each pass of an inner loop, the statistics of each layer [T, 2, C].

        Returns:
            For each layer [S+1, 2, C].
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
