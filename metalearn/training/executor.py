"""Compute meta-gradients on this machine: in chunks of tasks, over processes, or as one CUDA graph."""

from typing import Any

import torch

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.parameters import MetaGradient, MetaParameters
from metalearn.data.base import TaskBatch
from metalearn.runtime.device import precision_context
from metalearn.runtime.distributed import ProcessGroup
from metalearn.training.chunks import Chunks
from metalearn.training.cuda_graph import CudaGraphed


class Executor:
    """Compute an algorithm's meta-gradient. Chunks, processes and the CUDA graph are chosen here and nowhere else.

    Args:
        algorithm: computes the gradients of one chunk of tasks; its `engine` has the settings.
        device: `cpu`, `cuda` or `cuda:N`.
        group: the processes that share each meta-batch; None for a single process.
    """

    def __init__(self, algorithm: Algorithm, device: str, group: ProcessGroup | None = None):
        self.algorithm, self.device, self.group, self.engine = algorithm, device, group, algorithm.engine
        self.chunks = Chunks(algorithm)
        self.graph = CudaGraphed(self._on_one_process) if self.engine.cuda_graph else None

    def __call__(self, params: MetaParameters, batch: TaskBatch) -> MetaGradient:
        """Compute the meta-gradient of one meta-batch, which every process has sampled."""
        with precision_context(self.engine.precision, self.device):
            if self.group:
                return self._over_processes(self.group, params, batch)
            return (self.graph or self._on_one_process)(params, batch)

    def _on_one_process(self, params: MetaParameters, batch: TaskBatch) -> MetaGradient:
        return self.algorithm.mean(params, self._in_chunks(params, batch), len(batch.support_x))

    def _in_chunks(self, params: MetaParameters, batch: TaskBatch) -> MetaGradient:
        """Sum the gradients of all tasks, chunk by chunk; in smaller chunks where memory is short."""
        while True:
            size, total = self.chunks.tasks_at_once(batch), None
            try:
                for chunk in batch.split(size):
                    part = self.algorithm.task_gradients(params, chunk)
                    total = part if total is None else total + part
                assert total is not None
                return total
            except torch.OutOfMemoryError:
                total = part = None  # free what was computed so far
            self.chunks.halve(min(size, len(batch.support_x)))  # outside the handler, whose traceback holds memory

    def _over_processes(self, group: ProcessGroup, params: MetaParameters, batch: TaskBatch) -> MetaGradient:
        """Compute this process's share of the tasks at the meta-parameters of process 0, and add up all shares."""
        group.broken = True  # until all processes are through
        shared = iter(group.broadcast_tensors([value.detach() for value in params.tensors()]))
        params = params.map(lambda _: next(shared))
        tasks = len(batch.support_x)
        first, last = (tasks * rank // group.size for rank in (group.rank, group.rank + 1))
        own = self._in_chunks(params, TaskBatch(*(field[first:last] for field in batch)))
        total = own.with_tensors(group.all_reduce(own.tensors()))
        group.broken = False
        return self.algorithm.mean(params, total, tasks)

    def describe(self, batch: TaskBatch) -> dict[str, Any]:
        """Return the kernel, the inner loop and the number of tasks at once for batches like this one."""
        most = -(-len(batch.support_x) // (self.group.size if self.group else 1))
        with precision_context(self.engine.precision, self.device):
            grouped = self.algorithm.net.is_grouped(self.device.partition(":")[0])
            tasks = min(most, self.chunks.tasks_at_once(batch))
        kernel = "grouped" if grouped else "vmap"
        return {"kernel": kernel, "inner_loop": self.engine.inner_loop, "tasks_at_once": tasks}
