"""The number of tasks computed at once."""

import torch

from metalearn.algorithms.base import Algorithm
from metalearn.data.base import TaskBatch
from metalearn.kernels.tuning import OWN_WEIGHTS, VALUES_CUDA, VALUES_GROUPED, VALUES_VMAP
from metalearn.runtime.console import warn
from metalearn.runtime.errors import UserError


class Chunks:
    """Choose how many tasks are computed at once, and halve the number when memory is short.

    The choice follows a rule and not a measurement, so that the same run gives the same bits.

    Attributes:
        size: the number of tasks, fixed by `engine.chunk` or by `halve`; None: chosen by the input values of a task
            and, on the CPU, by the weights of the model.
    """

    def __init__(self, algorithm: Algorithm):
        self.algorithm, self.size = algorithm, algorithm.engine.chunk

    def tasks_at_once(self, batch: TaskBatch) -> int:
        """The number of tasks like those of this batch."""
        if fixed := self.algorithm.inner.tasks_at_once or self.size:
            return fixed
        values = batch.support_x[0].numel() + batch.query_x[0].numel()
        if batch.support_x.device.type != "cpu":  # where memory is short, `halve` is called
            return max(1, VALUES_CUDA // values)
        room = VALUES_GROUPED if self.algorithm.net.is_grouped("cpu") else VALUES_VMAP
        return max(1, min(room // values, OWN_WEIGHTS // self.algorithm.net.parameter_count))

    def halve(self, size: int) -> None:
        """Compute half as many tasks at once from now on, after `size` were too many for the memory of the device.

        Raises:
            UserError: one task alone is too much.
        """
        if size == 1:
            raise UserError(
                "one task alone is too large for this GPU's memory: lower query= or model.filters=, "
                "set engine.recompute=true, or device=cpu"
            )
        self.size = size // 2
        warn(f"out of memory with {size} tasks at once; from now on {self.size}")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
