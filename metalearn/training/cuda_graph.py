"""The meta-gradient as one CUDA graph: captured once and replayed at every meta-step without Python overhead."""

from collections.abc import Callable

import torch

from metalearn.algorithms.parameters import MetaGradient, MetaParameters
from metalearn.data.base import TaskBatch

WARM_UP = 3  # calls before the capture: libraries allocate and choose their algorithms in them


class CudaGraphed:
    """A meta-gradient on CUDA, for meta-batches of one shape.

    The graph reads the learned meta-parameters in place, where the outer optimizer changes them. Running statistics and
    tasks are new tensors at every step; they are copied into the tensors that the graph reads.

    Args:
        gradient: computes the meta-gradient of a meta-batch.
    """

    def __init__(self, gradient: Callable[[MetaParameters, TaskBatch], MetaGradient]):
        self.gradient = gradient
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, params: MetaParameters, batch: TaskBatch) -> MetaGradient:
        """Compute the meta-gradient; its gradients are valid until the next call, its other entries for good."""
        if self._graph is None:
            self._capture(params, batch)
        assert self._graph is not None
        for ours, new in zip(self._batch, batch, strict=True):
            ours.copy_(new)
        for ours, new in zip(self._params.tensors(), params.tensors(), strict=True):
            if ours.data_ptr() != new.data_ptr():
                ours.detach().copy_(new.detach())
        self._graph.replay()
        result = self._result
        return result._replace(
            metrics={name: value.clone() for name, value in result.metrics.items()},
            statistics=[value.clone() for value in result.statistics],
        )

    def _capture(self, params: MetaParameters, batch: TaskBatch) -> None:
        self._batch = TaskBatch(*(field.clone() for field in batch))
        self._params = params.map(lambda value: value if value.requires_grad else value.clone())
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self.gradient(self._params, self._batch)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._result = self.gradient(self._params, self._batch)
        self._graph = graph
