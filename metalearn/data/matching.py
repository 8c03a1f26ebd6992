"""Tasks of a data set as a trained learner takes them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from metalearn.data.base import Dataset, Split, TaskBatch, TaskSource
from metalearn.errors import UserError


def source_for(spec: Mapping[str, Any], dataset: Dataset, split: Split, seed: int, device: str) -> TaskSource:
    """A source whose inputs are normalized by the mean and deviation of the learner's own training images.

    Args:
        spec: the facts about a trained learner, see metalearn.learner.spec.
        seed: of the tasks.

    Raises:
        UserError: the learner does not take inputs of this data set.
    """
    _check(spec, dataset)
    source = dataset.source(split, seed, device)
    have = (dataset.mean, dataset.deviation)
    want = (spec.get("mean"), spec.get("deviation"))
    if have == tuple(value if value is None else tuple(value) for value in want):
        return source
    return _Renormalized(source, factors(*have), factors(*want))


def _check(spec: Mapping[str, Any], dataset: Dataset) -> None:
    """Raise UserError unless the learner takes inputs of this data set."""
    kinds = {True: "regression", False: "classification"}
    if dataset.regression != spec["regression"]:
        raise UserError(
            f"data: {dataset.name} is {kinds[dataset.regression]}, and this learner was trained for "
            f"{kinds[spec['regression']]}"
        )
    if tuple(dataset.shape) != tuple(spec["shape"]):
        raise UserError(f"data: {dataset.name} has inputs of shape {tuple(dataset.shape)}, and this learner takes "
                        f"{tuple(spec['shape'])}; data=folder resizes images (data.size, data.colour)")  # fmt: skip
    if dataset.regression and dataset.outputs != spec["outputs"]:
        raise UserError(f"data: {dataset.name} has targets of width {dataset.outputs}, and this learner predicts "
                        f"{spec['outputs']} values")  # fmt: skip


def factors(mean: Any, deviation: Any) -> tuple[Tensor, Tensor]:
    """Mean and deviation as [C, 1, 1]; 0 and 1 where there are none."""
    values = ([0.0] if mean is None else mean, [1.0] if deviation is None else deviation)
    first, second = (torch.tensor(value, dtype=torch.float32).view(-1, 1, 1) for value in values)
    return first, second


class _Renormalized:
    """A source whose inputs are normalized by other values than its own."""

    def __init__(self, source: TaskSource, own: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]):
        self._source, self._own, self._other = source, own, other

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def viewable(self, x: Tensor) -> Tensor:
        """As the source's, of inputs as `tasks` gives them."""
        mean, deviation, new_mean, new_deviation = (value.to(x.device) for value in (*self._own, *self._other))
        return self._source.viewable((x * new_deviation + new_mean - mean) / deviation)

    def tasks(self, ids: Tensor, way: int, shot: int, query: int) -> TaskBatch:
        """As the source's."""
        batch = self._source.tasks(ids, way, shot, query)
        mean, deviation = (value.to(ids.device) for value in self._own)
        new_mean, new_deviation = (value.to(ids.device) for value in self._other)
        x, y = ((part * deviation + mean - new_mean) / new_deviation for part in (batch.support_x, batch.query_x))
        return batch._replace(support_x=x, query_x=y)
