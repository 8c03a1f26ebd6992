"""Compute meta-gradients on this machine: in chunks of tasks, over processes, or as one CUDA graph."""

from typing import Any

from metalearn.algorithms.base import Algorithm, Meta, MetaStep
from metalearn.data.base import TaskBatch
from metalearn.runtime.device import Precision, precision_context
from metalearn.runtime.distributed import Team
from metalearn.training.cuda_graph import Captured


class Executor:
    """Computes an algorithm's meta-gradient; how is decided here and nowhere else.

    Args:
        algorithm: what computes the gradient of one chunk of tasks.
        device: `cpu`, `cuda` or `cuda:N`.
        precision: of the arithmetic.
        team: the processes that share each meta-batch; None for a single process.
        cuda_graph: capture the meta-gradient as one CUDA graph.
    """

    def __init__(self, algorithm: Algorithm, device: str, precision: Precision = "float32",
                 team: Team | None = None, cuda_graph: bool = False):  # fmt: skip
        self.algorithm, self.device, self.precision, self.team = algorithm, device, precision, team
        self.graph = Captured(algorithm) if cuda_graph else None

    def __call__(self, meta: Meta, batch: TaskBatch) -> MetaStep:
        """Compute the meta-gradient of one meta-batch, which every process has sampled."""
        with precision_context(self.precision, self.device):
            if self.team:
                return self._over_processes(self.team, meta, batch)
            return (self.graph or self.algorithm).meta_gradient(meta, batch)

    def _over_processes(self, team: Team, meta: Meta, batch: TaskBatch) -> MetaStep:
        """Compute this process's share of the tasks at the meta-parameters of process 0, and add up all shares."""
        team.broken = True  # until all processes are through
        shared = team.broadcast([value.detach() for value in meta.values()])
        meta = dict(zip(meta, shared, strict=True))
        tasks = len(batch.support_x)
        first, last = (tasks * rank // team.size for rank in (team.rank, team.rank + 1))
        sums = self.algorithm.sums(meta, TaskBatch(*(field[first:last] for field in batch)))
        added = iter(team.all_reduce([value for entry in sums for value in entry.values()]))
        total = MetaStep(*({name: next(added) for name in entry} for entry in sums))
        team.broken = False
        return self.algorithm.means(meta, total, tasks)

    def describe(self, batch: TaskBatch) -> dict[str, Any]:
        """Return the engine and the number of tasks at once for batches like this one."""
        algorithm = self.algorithm
        most = -(-len(batch.support_x) // (self.team.size if self.team else 1))
        with precision_context(self.precision, self.device):
            chosen = "grouped" if algorithm.net.grouped(self.device.partition(":")[0]) else "vmap"
            tasks = min(most, algorithm.tasks_at_once(batch.support_x, batch.query_x))
        return {"engine": "higher" if algorithm.engine == "higher" else chosen, "tasks_at_once": tasks}
