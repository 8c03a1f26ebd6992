"""Contracts of data sets, task sources and batches of tasks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

from metalearn.runtime.errors import UserError

Split = Literal["train", "validation", "test", "train+validation", "test+validation+train"]
"""Part of the classes. `train+validation` serves retraining, the last one evaluation on all classes."""
ALL: Split = "test+validation+train"
PLACES = ("root", "download")  # settings of data sets that depend on the machine


class TaskBatch(NamedTuple):
    """Batch of T few-shot tasks: N-way K-shot classification with Q query images per class, or regression (N = 1).

    Labels of classification are 0 .. N-1; support and query labels refer to the same classes.
    """

    support_x: Tensor  # [T, N*K, ...]
    support_y: Tensor  # [T, N*K] int64, or [T, K, D] float for regression
    query_x: Tensor  # [T, N*Q, ...]
    query_y: Tensor  # [T, N*Q] int64, or [T, Q, D] float
    ids: Tensor  # [T] int64: task ids, from which random masks are drawn

    def split(self, size: int) -> Iterator["TaskBatch"]:
        """Split the batch into batches of at most `size` tasks."""
        for start in range(0, len(self.support_x), size):
            yield TaskBatch(*(field[start : start + size] for field in self))


class Examples(NamedTuple):
    """Batch of B single examples, labelled over *all* classes of a source. Used by the pretraining baseline."""

    x: Tensor  # [B, ...]
    y: Tensor  # [B] int64, or [B, D] float for regression


class TaskSource(Protocol):
    """Source of tasks from one part (training, validation or test classes) of a data set.

    All samples are pure functions of the seed of the source and the given ids.
    """

    labels: int | None  # number of distinct labels of `examples`; None for regression
    class_names: tuple[str, ...]  # classes of this part; () for regression

    def check(self, way: int, shot: int, query: int) -> None:
        """Raise UserError if tasks of this size cannot be sampled."""

    def tasks(self, ids: Tensor, way: int, shot: int, query: int) -> TaskBatch:
        """Sample the tasks with these ids (int64 [T], on the device of the source)."""

    def examples(self, ids: Tensor) -> Examples:
        """Sample single examples with these ids (int64 [B]), uniformly with replacement."""

    def classes(self, ids: Tensor, way: int) -> Tensor:
        """Return the classes of the tasks with these ids (int64 [T]): int64 [T, N], indices into `class_names`."""

    def viewable(self, x: Tensor) -> Tensor:
        """Convert inputs float [..., C, H, W] to pictures 0..1 that look like the files."""


def require_source(source: object) -> None:
    """Raise UserError where a data set, or something else, is given for a source of tasks."""
    if not hasattr(source, "tasks"):
        raise UserError(f"{source!r:.60}: give a source of tasks, such as dataset.source('test', 0, 'cpu')")


@dataclass(frozen=True)
class Dataset:
    """Data set, split by class. Every `load` function of this package returns one."""

    name: str
    split: str  # the name of the split ("random", "vinyals", ...)
    regression: bool
    shape: tuple[int, ...]  # shape of one input: (C, H, W), or (D,)
    outputs: int | None  # dimension of a regression target; None for classification
    source: Callable[[Split, int, str], TaskSource]  # (part, seed, device) -> source
    invert: bool = False  # files show dark ink on light paper; inputs are ink = 1, paper = 0
    notice: str | None = None  # what the user must not miss, shown before and after the run
    classes: dict[str, list[str]] = field(default_factory=dict)  # class names of each part
    fingerprint: str = ""  # SHA-256 (hex) of pixels, counts, class names and split
    mean: tuple[float, ...] | None = None  # of the training images, per channel; None if not normalized
    deviation: tuple[float, ...] | None = None  # standard deviation, likewise
