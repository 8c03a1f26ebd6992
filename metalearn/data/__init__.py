"""Data sets and the few-shot task samplers over them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from metalearn.data.tasks import Examples, Source, TaskBatch

__all__ = ["Dataset", "Examples", "Source", "Split", "TaskBatch"]

Split = Literal["train", "validation", "test", "train+validation", "test+validation+train"]
"""A part of the classes; `train+validation` is for retraining, the last for evaluation on data of another run."""


@dataclass(frozen=True)
class Dataset:
    """A data set, split by class: what every loader in this package returns."""

    name: str
    split: str  # the name of the split ("random", "vinyals", ...)
    regression: bool
    shape: tuple[int, ...]  # of one input: (C, H, W), or (D,)
    outputs: int | None  # dimension of a regression target; None: as many outputs as ways
    source: Callable[[Split, int, str], Source]  # (split, seed, device) -> the supply of tasks
    dark_ink: bool = False  # scans show dark ink on light paper, the model expects ink = 1, paper = 0
    notice: str | None = None  # what the user must not miss, shown before and after the run
    classes: dict[str, list[str]] = field(default_factory=dict)  # the class names of each split
    fingerprint: str = ""  # SHA-256 (hex) of all that tasks are made of: pixels, counts, class names, split
    mean: tuple[float, ...] | None = None  # of the training images by channel, where inputs are normalized
    deviation: tuple[float, ...] | None = None  # their standard deviation
