"""Tasks of another data set for a trained learner."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from metalearn.data.base import Dataset, Split, TaskBatch, TaskSource
from metalearn.runtime.errors import UserError


def source_for(spec: Mapping[str, Any], dataset: Dataset, split: Split, seed: int, device: str) -> TaskSource:
    """Make a source whose inputs are normalized by the mean and deviation of the learner's training images.

    Args:
        spec: specification of a trained learner, see metalearn.learner.spec.
        dataset: data set to sample from.
        split: part of its classes.
        seed: of the tasks.
        device: device of the tasks.

    Raises:
        UserError: the data set does not fit the inputs or outputs of the learner.
    """
    _check(spec, dataset)
    source = dataset.source(split, seed, device)
    have = (dataset.mean, dataset.deviation)
    want = (spec.get("mean"), spec.get("deviation"))
    if have == tuple(value if value is None else tuple(value) for value in want):
        return source
    return _Renormalized(source, factors(*have), factors(*want))


def _check(spec: Mapping[str, Any], dataset: Dataset) -> None:
    """Raise UserError unless the data set fits the learner."""
    kinds = {True: "regression", False: "classification"}
    if dataset.regression != spec["regression"]:
        raise UserError(
            f"data: {dataset.name} is {kinds[dataset.regression]}, and this learner was trained for "
            f"{kinds[spec['regression']]}"
        )
    if tuple(dataset.shape) != tuple(spec["shape"]):
        raise UserError(
            f"data: {dataset.name} has inputs of shape {tuple(dataset.shape)}, and this learner takes "
            f"{tuple(spec['shape'])}; data=folder resizes images (data.size, data.colour)"
        )
    if dataset.outputs not in (None, spec["outputs"]):  # None: as many as ways
        raise UserError(
            f"data: {dataset.name} has targets of width {dataset.outputs}, and this learner predicts "
            f"{spec['outputs']} values"
        )


def factors(mean: Any, deviation: Any) -> tuple[Tensor, Tensor]:
    """Convert mean and deviation to float tensors [C, 1, 1]. None stands for mean 0 and deviation 1."""
    values = ([0.0] if mean is None else mean, [1.0] if deviation is None else deviation)
    first, second = (torch.tensor(value, dtype=torch.float32).view(-1, 1, 1) for value in values)
    return first, second


class _Renormalized:
    """Source whose inputs are normalized by another mean and deviation."""

    def __init__(self, source: TaskSource, own: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]):
        self._source, self._own, self._other = source, own, other

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def viewable(self, x: Tensor) -> Tensor:
        """Convert inputs to pictures; see TaskSource."""
        mean, deviation, new_mean, new_deviation = (value.to(x.device) for value in (*self._own, *self._other))
        return self._source.viewable((x * new_deviation + new_mean - mean) / deviation)

    def tasks(self, ids: Tensor, way: int, shot: int, query: int) -> TaskBatch:
        """Sample tasks; see TaskSource."""
        batch = self._source.tasks(ids, way, shot, query)
        mean, deviation = (value.to(ids.device) for value in self._own)
        new_mean, new_deviation = (value.to(ids.device) for value in self._other)
        x, y = ((part * deviation + mean - new_mean) / new_deviation for part in (batch.support_x, batch.query_x))
        return batch._replace(support_x=x, query_x=y)
