"""Compute meta-gradients on this machine: in chunks of tasks, over processes, or as one CUDA graph."""

from typing import Any

from metalearn.algorithms.base import Algorithm, Meta, MetaStep
from metalearn.data.base import TaskBatch
from metalearn.runtime.device import Precision, precision_context
from metalearn.runtime.distributed import ProcessGroup
from metalearn.training.cuda_graph import Captured


class Executor:
    """Computes an algorithm's meta-gradient; how is decided here and nowhere else.

    Args:
        algorithm: what computes the gradient of one chunk of tasks.
        device: `cpu`, `cuda` or `cuda:N`.
        precision: of the arithmetic.
        group: the processes that share each meta-batch; None for a single process.
        cuda_graph: capture the meta-gradient as one CUDA graph.
    """

    def __init__(self, algorithm: Algorithm, device: str, precision: Precision = "float32",
                 group: ProcessGroup | None = None, cuda_graph: bool = False):  # fmt: skip
        self.algorithm, self.device, self.precision, self.group = algorithm, device, precision, group
        self.graph = Captured(algorithm) if cuda_graph else None

    def __call__(self, meta: Meta, batch: TaskBatch) -> MetaStep:
        """Compute the meta-gradient of one meta-batch, which every process has sampled."""
        with precision_context(self.precision, self.device):
            if self.group:
                return self._over_processes(self.group, meta, batch)
            return (self.graph or self.algorithm).meta_gradient(meta, batch)

    def _over_processes(self, group: ProcessGroup, meta: Meta, batch: TaskBatch) -> MetaStep:
        """Compute this process's share of the tasks at the meta-parameters of process 0, and add up all shares."""
        group.broken = True  # until all processes are through
        shared = group.broadcast_tensors([value.detach() for value in meta.values()])
        meta = dict(zip(meta, shared, strict=True))
        tasks = len(batch.support_x)
        first, last = (tasks * rank // group.size for rank in (group.rank, group.rank + 1))
        sums = self.algorithm.sums(meta, TaskBatch(*(field[first:last] for field in batch)))
        added = iter(group.all_reduce([value for entry in sums for value in entry.values()]))
        total = MetaStep(*({name: next(added) for name in entry} for entry in sums))
        group.broken = False
        return self.algorithm.means(meta, total, tasks)

    def describe(self, batch: TaskBatch) -> dict[str, Any]:
        """Return the engine and the number of tasks at once for batches like this one."""
        algorithm = self.algorithm
        most = -(-len(batch.support_x) // (self.group.size if self.group else 1))
        with precision_context(self.precision, self.device):
            chosen = "grouped" if algorithm.net.grouped(self.device.partition(":")[0]) else "vmap"
            tasks = min(most, algorithm.tasks_at_once(batch.support_x, batch.query_x))
        return {"engine": "higher" if algorithm.engine == "higher" else chosen, "tasks_at_once": tasks}
