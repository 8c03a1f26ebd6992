"""The meta-gradient as one CUDA graph: captured once and replayed at every meta-step, without Python in between.

Not run so far: no GPU was at hand. Its tests wait under the `gpu` marker.
"""

import torch

from metalearn.algorithms.base import Algorithm, Meta, MetaStep
from metalearn.data.base import TaskBatch

WARM_UP = 3  # calls before the capture: libraries allocate and choose their algorithms in them


class Captured:
    """An algorithm's meta_gradient on CUDA, for meta-batches of one shape.

    The parameters in `meta` are read where they lie, for the outer optimiser changes them in place. Running averages
    and tasks, which are new tensors at every step, are copied to where the graph expects them.
    """

    def __init__(self, algorithm: Algorithm):
        self.algorithm = algorithm
        self._graph: torch.cuda.CUDAGraph | None = None

    def meta_gradient(self, meta: Meta, batch: TaskBatch) -> MetaStep:
        """As the algorithm's own. What is returned is good until the next call, but for metrics and averages."""
        if self._graph is None:
            self._capture(meta, batch)
        assert self._graph is not None
        for ours, new in zip(self._batch, batch, strict=True):
            ours.copy_(new)
        for name, ours in self._meta.items():
            if ours.data_ptr() != meta[name].data_ptr():
                ours.detach().copy_(meta[name].detach())
        self._graph.replay()
        result = self._result
        return result._replace(metrics={name: value.clone() for name, value in result.metrics.items()},
                               averages={name: value.clone() for name, value in result.averages.items()})  # fmt: skip

    def _capture(self, meta: Meta, batch: TaskBatch) -> None:
        self._batch = TaskBatch(*(field.clone() for field in batch))
        self._meta = {name: value if value.requires_grad else value.clone() for name, value in meta.items()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self.algorithm.meta_gradient(self._meta, self._batch)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._result = self.algorithm.meta_gradient(self._meta, self._batch)
        self._graph = graph
