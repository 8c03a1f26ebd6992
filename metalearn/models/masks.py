"""Random masks of dropout: a pure function of the seed, the task, the pass and the call within the pass.

No generator is involved, so that a resumed run draws the same masks, and neither the number of processes, nor how many
tasks are handled at once, nor a recomputed inner step changes them. The tasks of a meta-step have numbers of their own.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metalearn.data import rng

QUERY = -1  # the number of the query pass


@dataclass
class Masks:
    """The masks of one forward pass over the images of T tasks, or of one task."""

    seed: int
    number: int  # of the pass in the task: the inner step of a support pass, QUERY for the query pass
    ids: Tensor  # int64 [T]: the tasks' numbers; [] for one task
    calls: int = 0  # masks drawn so far

    def of(self, task: Tensor) -> "Masks":
        """The masks of one task of these, at the beginning of the pass.

        Args:
            task: its number, int64 [].
        """
        return replace(self, ids=task, calls=0)

    def draw(self, shape: torch.Size, p: float) -> Tensor:
        """The next mask of one task, or of each of T tasks [T, ...]: bool, true with probability 1 - p."""
        stream = rng.stream(self.seed, "dropout", self.number, self.calls)
        self.calls += 1
        if self.ids.ndim:
            return rng.uniform(stream, self.ids, *shape) >= p
        return rng.uniform(stream, self.ids[None], *shape)[0] >= p
