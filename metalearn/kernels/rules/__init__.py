"""Rules of TaskTensor: what functions of torch do with the values of many tasks."""

from metalearn.kernels.rules import blocks, elementwise, linear, pooling, shapes  # noqa: F401
