"""First-order MAML."""

from dataclasses import dataclass

from torch import Tensor

from metalearn.algorithms.maml import MAML
from metalearn.algorithms.parameters import Adapted, MetaParameters
from metalearn.inner.gradients import gradients
from metalearn.models.functional import sum_over_tasks
from metalearn.models.weights import Weights


@dataclass(kw_only=True, eq=False)
class FOMAML(MAML):
    """MAML without second derivatives: the query gradient *at* the adapted weights.

    Finn, Abbeel & Levine, ICML 2017 (arxiv.org/abs/1703.03400), 5.2; analysed in Nichol, Achiam & Schulman, "On
    first-order meta-learning algorithms", 2018 (arxiv.org/abs/1803.02999), equation 26 ff.
    """

    second_order = False

    def differentiate(self, loss: Tensor, params: MetaParameters, adapted: Adapted) -> Weights:
        """Take the gradient at the adapted weights as that of the meta-parameters."""
        weights = adapted.weights
        found = dict(zip(weights, gradients(loss, list(weights.values())), strict=True))
        shared = {name: g.ndim == params.model[name].ndim for name, g in found.items()}
        return {name: g if shared[name] else sum_over_tasks(g) for name, g in found.items()}
