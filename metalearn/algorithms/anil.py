"""ANIL: almost no inner loop."""

from dataclasses import dataclass

from metalearn.algorithms.base import Algorithm


@dataclass(kw_only=True, eq=False)
class ANIL(Algorithm):
    """MAML whose inner loop adapts the head alone; the body is learned in the outer loop only.

    Raghu et al., "Rapid learning or feature reuse? Towards understanding the effectiveness of MAML", ICLR 2020
    (arxiv.org/abs/1909.09157), section 4.
    """

    def adapts(self, name: str) -> bool:
        """The head."""
        return name.startswith("head.")

    @property
    def can_recompute(self) -> bool:
        """The features are computed once as it is, and a step of the head keeps next to nothing."""
        return False
