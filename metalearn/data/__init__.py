"""Data sets and the few-shot task samplers over them."""

from metalearn.data.base import Dataset, Examples, Split, TaskBatch, TaskSource

__all__ = ["Dataset", "Examples", "Split", "TaskBatch", "TaskSource"]
