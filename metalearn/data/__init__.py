"""Data sets and the few-shot task samplers over them."""

from metalearn.data.base import Dataset, Examples, Source, Split, TaskBatch

__all__ = ["Dataset", "Examples", "Source", "Split", "TaskBatch"]
