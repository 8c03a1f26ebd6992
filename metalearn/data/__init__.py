"""Data sets and the sampler of few-shot tasks."""

from metalearn.data.base import Dataset, Examples, Split, TaskBatch, TaskSource
from metalearn.data.image_set import ImageSet, from_array
from metalearn.data.task_sampler import ImageTasks, image_dataset

__all__ = [
    "Dataset",
    "Examples",
    "ImageSet",
    "ImageTasks",
    "Split",
    "TaskBatch",
    "TaskSource",
    "from_array",
    "image_dataset",
]
