"""The loss of support sets as a function of the adapted weights."""

from torch import Tensor

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.parameters import MetaParameters
from metalearn.models.weights import Weights


class SupportLoss:
    """The support loss of T tasks; each call is one inner step.

    Where the inner loop adapts the head alone, the body runs once, whatever the number of steps.

    Args:
        shared: the weights that all tasks share.
        adapted: the names of the weights that the inner loop adapts.
        support_x: [T, N*K, ...]; support_y: [T, N*K] int64, or real [T, K, D].
        training: True in meta-training.
        ids: in meta-training, the tasks' numbers, int64 [T].
    """

    def __init__(
        self,
        algorithm: Algorithm,
        params: MetaParameters,
        shared: Weights,
        adapted: list[str],
        support_x: Tensor,
        support_y: Tensor,
        training: bool,
        ids: Tensor | None,
    ):
        self.algorithm, self.params, self.shared = algorithm, params, shared
        self.x, self.y, self.training, self.ids = support_x, support_y, training, ids
        self.batch_statistics: list[list[Tensor]] = []  # of each pass, of each layer [T, 2, C]
        self._features: Tensor | None = None
        if set(adapted) <= set(algorithm.head.names):
            context = algorithm.passes.support(0, training, ids)
            self._features, statistics = algorithm.net.features(shared | params.model, support_x, context)
            self.batch_statistics = [statistics] * algorithm.inner_steps

    def __call__(self, fast: Weights) -> Tensor:
        """The loss of each task [T] at weights [T, ...]."""
        algorithm = self.algorithm
        if self._features is not None:
            outputs = algorithm.net.head_outputs(self.shared | fast, self._features)
            return algorithm.inner_loss(self.params, outputs, self.y)
        context = algorithm.passes.support(len(self.batch_statistics), self.training, self.ids)
        outputs, statistics = algorithm.net.outputs(self.shared | fast, self.x, context)
        self.batch_statistics.append(statistics)
        return algorithm.inner_loss(self.params, outputs, self.y)
