"""ANIL: almost no inner loop."""

from dataclasses import dataclass

from metalearn.algorithms.maml import MAML


@dataclass(kw_only=True, eq=False)
class ANIL(MAML):
    """MAML whose inner loop adapts the head alone; the body is learned in the outer loop only.

    Raghu et al., "Rapid learning or feature reuse? Towards understanding the effectiveness of MAML", ICLR 2020
    (arxiv.org/abs/1909.09157), section 4.
    """

    def is_adapted(self, name: str) -> bool:
        """True for the head."""
        return name in self.head.names

    @property
    def cannot_recompute(self) -> str:
        """The body runs once and a step of the head stores almost nothing: there is nothing to gain."""
        return super().cannot_recompute or "runs the body once, so that there is nothing to recompute"
