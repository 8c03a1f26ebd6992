"""Data sets, batches of tasks, and the sources that sample them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

Split = Literal["train", "validation", "test", "train+validation", "test+validation+train"]
"""A part of the classes; `train+validation` is for retraining, the last for evaluation on data of another run."""


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


class TaskSource(Protocol):
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


@dataclass(frozen=True)
class Dataset:
    """A data set, split by class: what every loader in this package returns."""

    name: str
    split: str  # the name of the split ("random", "vinyals", ...)
    regression: bool
    shape: tuple[int, ...]  # of one input: (C, H, W), or (D,)
    outputs: int | None  # dimension of a regression target; None: as many outputs as ways
    source: Callable[[Split, int, str], TaskSource]  # (split, seed, device) -> the supply of tasks
    invert: bool = False  # scans show dark ink on light paper, the model expects ink = 1, paper = 0
    notice: str | None = None  # what the user must not miss, shown before and after the run
    classes: dict[str, list[str]] = field(default_factory=dict)  # the class names of each split
    fingerprint: str = ""  # SHA-256 (hex) of all that tasks are made of: pixels, counts, class names, split
    mean: tuple[float, ...] | None = None  # of the training images by channel, where inputs are normalized
    deviation: tuple[float, ...] | None = None  # their standard deviation
