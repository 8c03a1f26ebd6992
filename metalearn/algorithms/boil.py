"""BOIL: the opposite of ANIL."""

from dataclasses import dataclass

from torch import nn

from metalearn.algorithms.maml import MAML
from metalearn.algorithms.parameters import MetaParameters


@dataclass(kw_only=True, eq=False)
class BOIL(MAML):
    """MAML whose inner loop adapts the body alone; the head is learned in the outer loop only.

    Oh, Yoo, Kim & Yun, "BOIL: Towards representation change for few-shot learning", ICLR 2021
    (arxiv.org/abs/2008.08882), section 3: MAML with an inner learning rate of 0 for the head.
    """

    def is_adapted(self, name: str) -> bool:
        """True for the body; for batch norm's gamma and beta only with `adapt_norm`."""
        return name not in self.head.names and super().is_adapted(name)

    def init(self) -> MetaParameters:
        """Start from a random head: through a head at zero, the inner loop would get no gradient."""
        params = super().init()
        layer = nn.Linear(self.head.in_features, self.head.out_features)
        return params._replace(model=params.model | {self.head.weight: layer.weight.detach()})
