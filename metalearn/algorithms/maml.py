"""MAML, second order."""

from dataclasses import dataclass

from metalearn.algorithms.base import Algorithm


@dataclass(kw_only=True, eq=False)
class MAML(Algorithm):
    """Learn initial weights from which a few gradient steps on a support set lead far.

    Finn, Abbeel & Levine, "Model-agnostic meta-learning for fast adaptation of deep networks", ICML 2017
    (arxiv.org/abs/1703.03400), algorithm 2. The meta-gradient goes through the inner loop, second derivatives included.

    Args:
        adapt_norm: whether the inner loop adapts batch norm's gamma and beta (the original code does not).
    """

    adapt_norm: bool

    def adapts(self, name: str) -> bool:
        """All parameters, batch norm's if `adapt_norm` says so."""
        return self.adapt_norm or name not in self.model.norm_parameters()
