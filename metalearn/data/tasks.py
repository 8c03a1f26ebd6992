"""What algorithms learn from: batches of tasks, and the sources that deal them."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from torch import Tensor


class TaskBatch(NamedTuple):
    """T few-shot tasks. N-way K-shot classification with Q queries a class; for regression N = 1 and y is real.

    Support and query labels of classification are 0 .. N-1, in the same class order in both.
    """

    support_x: Tensor  # [T, N*K, ...]
    support_y: Tensor  # [T, N*K] int64, or [T, K, D] float for regression
    query_x: Tensor  # [T, N*Q, ...]
    query_y: Tensor  # [T, N*Q] int64, or [T, Q, D] float
    ids: Tensor  # [T] int64: the tasks' numbers, from which random masks are drawn

    def split(self, size: int) -> Iterator["TaskBatch"]:
        """The same tasks in pieces of at most `size`."""
        for start in range(0, len(self.support_x), size):
            yield TaskBatch(*(field[start : start + size] for field in self))


class Examples(NamedTuple):
    """B single examples, labelled over *all* classes of a source (the pretraining baseline's batches)."""

    x: Tensor  # [B, ...]
    y: Tensor  # [B] int64, or [B, D] float for regression


class Source(Protocol):
    """A supply of tasks from one split (training, validation or test classes) of a data set.

    Everything dealt is a pure function of the source's seed and of the ids asked for.
    """

    labels: int | None  # distinct labels that `examples` deals; None for regression
    class_names: tuple[str, ...]  # of this split; () for regression

    def check(self, way: int, shot: int, query: int) -> None:
        """Raise UserError, in one line, where such tasks cannot be dealt."""

    def tasks(self, ids: Tensor, way: int, shot: int, query: int) -> TaskBatch:
        """The tasks with these numbers (int64 [T]), on the device of `ids`' source."""

    def examples(self, ids: Tensor) -> Examples:
        """The single examples with these numbers (int64 [B]), drawn uniformly with replacement."""

    def classes(self, ids: Tensor, way: int) -> Tensor:
        """Return the classes of these tasks (int64 [T]): int64 [T, N], indices into `class_names`."""

    def viewable(self, x: Tensor) -> Tensor:
        """Turn inputs [..., C, H, W] back into pictures 0..1 as the files show them."""
