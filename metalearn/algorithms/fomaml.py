"""First-order MAML."""

from dataclasses import dataclass

from torch import Tensor

from metalearn.algorithms.maml import MAML
from metalearn.inner.unroll import gradients
from metalearn.models.base import Weights, total


@dataclass(kw_only=True, eq=False)
class FOMAML(MAML):
    """MAML with the second derivatives left out: the query gradient *at* the adapted weights.

    Finn, Abbeel & Levine, ICML 2017 (arxiv.org/abs/1703.03400), 5.2; analysed in Nichol, Achiam & Schulman, "On
    first-order meta-learning algorithms", 2018 (arxiv.org/abs/1803.02999), equation 26 ff.
    """

    second_order = False

    def differentiate(self, loss: Tensor, parameters: Weights, adapted: Weights) -> Weights:
        """The gradient with respect to the adapted weights stands for that with respect to the meta-parameters."""
        grads = gradients(loss, list(adapted.values()))
        return {n: total(g) if g.ndim > parameters[n].ndim else g for n, g in zip(adapted, grads, strict=True)}
