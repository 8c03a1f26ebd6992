"""The values that pass between an algorithm and the outer loop."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from torch import Tensor

from metalearn.data.base import TaskBatch
from metalearn.models.weights import Weights
from metalearn.runtime.errors import UserError


class MetaParameters(NamedTuple):
    """Everything that is learned over tasks.

    Attributes:
        model: the model's parameters, by name.
        extra: what an algorithm learns besides, by names that no parameter of the model has: inner learning rates, a
            classifier over the training classes.
        statistics: with `norm=per_step`, running statistics of each batch-norm layer [S+1, 2, C] (mean, variance),
            for the passes of S inner steps and the query pass; no gradient changes them.
    """

    model: Weights
    extra: Weights
    statistics: list[Tensor]

    @property
    def learned(self) -> Weights:
        """The entries that the outer optimizer changes, by name."""
        return self.model | self.extra

    def with_learned(self, values: Mapping[str, Tensor]) -> "MetaParameters":
        """Return a copy with other values of the learned entries."""
        model, extra = ({name: values[name] for name in entries} for entries in (self.model, self.extra))
        return MetaParameters(model, extra, self.statistics)

    def leaves(self) -> "MetaParameters":
        """Return a copy whose learned entries are leaves of autograd's graph and require gradients."""
        return self.with_learned({name: value.detach().requires_grad_() for name, value in self.learned.items()})

    def map(self, function: Callable[[Tensor], Tensor]) -> "MetaParameters":
        """Apply a function to every tensor."""
        model, extra = ({name: function(v) for name, v in entries.items()} for entries in (self.model, self.extra))
        return MetaParameters(model, extra, [function(value) for value in self.statistics])

    def tensors(self) -> list[Tensor]:
        """Every tensor, in a fixed order."""
        return [*self.model.values(), *self.extra.values(), *self.statistics]

    def shapes(self) -> "dict[str, dict[str, tuple[int, ...]]]":
        """The shape of every tensor, by group and name."""
        return {
            group: {name: tuple(value.shape) for name, value in entries.items()}
            for group, entries in self.content().items()
        }

    def content(self) -> dict[str, dict[str, Tensor]]:
        """The entries as plain dictionaries of a checkpoint."""
        statistics = {str(layer): value for layer, value in enumerate(self.statistics)}
        return {"model": dict(self.model), "extra": dict(self.extra), "statistics": statistics}

    @staticmethod
    def of(content: Mapping[str, Any]) -> "MetaParameters":
        """Return the meta-parameters in a checkpoint, from what `content` gave."""
        return MetaParameters(dict(content["model"]), dict(content["extra"]), list(content["statistics"].values()))


def require_params(params: object) -> None:
    """Raise UserError unless `params` is a MetaParameters."""
    if not isinstance(params, MetaParameters):
        raise UserError(f"{type(params).__name__}: give meta-parameters, such as params = algorithm.init()")


def require_batch(batch: object) -> None:
    """Raise UserError unless `batch` is a TaskBatch."""
    if not isinstance(batch, TaskBatch):
        raise UserError(f"{type(batch).__name__}: give a batch of tasks, such as algorithm.sample(source, 0, 'cpu')")


class MetaGradient(NamedTuple):
    """The meta-gradient of one meta-batch: a mean over its tasks, but from `Algorithm.task_gradients` a sum over them.

    Attributes:
        gradients: the direction for the outer optimizer, by name of the learned entry.
        metrics: query loss and score, left on their device.
        statistics: new values of the running statistics; in a sum over tasks, the sums of batch statistics.
    """

    gradients: Weights
    metrics: dict[str, Tensor]
    statistics: list[Tensor]

    def tensors(self) -> list[Tensor]:
        """Every tensor, in a fixed order."""
        return [*self.gradients.values(), *self.metrics.values(), *self.statistics]

    def with_tensors(self, tensors: list[Tensor]) -> "MetaGradient":
        """Return the same entries with other tensors, in the order of `tensors`."""
        left = iter(tensors)
        gradients, metrics = ({name: next(left) for name in entry} for entry in (self.gradients, self.metrics))
        return MetaGradient(gradients, metrics, list(left))

    def __add__(self, other: Any) -> "MetaGradient":
        """Add two sums over tasks."""
        pairs = zip(self.tensors(), other.tensors(), strict=True)
        return self.with_tensors([a + b for a, b in pairs])


@dataclass(frozen=True)
class Adapted:
    """A model adapted to T tasks: all that is needed to predict."""

    weights: Weights  # [T, ...], or of the parameter's own shape where tasks share it
    support_x: Tensor  # [T, N*K, ...], for the batch-norm mode `support`
    step: int  # inner steps taken
    ids: Tensor | None = None  # in meta-training: the tasks' numbers, int64 [T]
    running_statistics: list[Tensor] | None = None  # per_step, at evaluation: those that hold after this step
    batch_statistics: tuple[list[Tensor], ...] = ()  # per_step, in meta-training: of each support pass [T, 2, C]


def nth(path: Iterator[Adapted], n: int) -> Adapted:
    """Take n inner steps, and return the adapted model.

    Args:
        path: a fresh iterator from Algorithm.adapt.
        n: number of inner steps; 0 for the model before the first.
    """
    return next(islice(path, n, None))


class Part(NamedTuple):
    """A part of the meta-parameters as layers.csv shows it."""

    name: str  # of the layer, with `.gamma` or `.beta` in batch norm
    kind: str  # `weights`, `gamma`, `beta` or `rate` (learned inner rates)


def layer_of(parameter: str) -> str:
    """The layer that a parameter belongs to: `convs.0` of `convs.0.weight`."""
    return parameter.rpartition(".")[0] or parameter
