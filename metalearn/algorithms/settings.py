"""The settings that every algorithm has. Values are in conf/algo/."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from metalearn.algorithms.objective import Objective
from metalearn.config.checks import at_least
from metalearn.config.engine import EngineSettings
from metalearn.models.norm import NormMode
from metalearn.runtime.errors import UserError


@dataclass(kw_only=True, eq=False)
class AlgorithmSettings:
    """Settings of an algorithm, with their ranges.

    Args:
        model: the architecture and the initial weights; any module that maps inputs to outputs by a linear head.
        head_layer: the name of the layer of the model that is its head; None for the last nn.Linear.
        objective: the loss and the score, see metalearn.algorithms.objective.
        way, shot, query: of the training tasks: the number of classes, and of support and query examples per class.
        norm: how batch norm gets its statistics, see metalearn.models.norm.
        labels: classes of the training source, for algorithms that classify over all of them; None in regression.
        meta_batch: tasks (or single examples) in a meta-step.
        inner_steps: inner-loop steps in meta-training.
        inner_steps_test: inner-loop steps at evaluation.
        inner_optimizer: {name: SGD or Adam, lr: ..., ...}; see metalearn.inner.unroll.make_inner_loop for others.
        reduction: of the inner loss over a support set: `mean` over examples; `sum`; or `shot_mean`, the sum over
            classes of the mean over a class's shots. With N classes this is N times `mean`; the original MAML code uses
            it.
        seed: of the random masks of dropout.
        engine: how gradients are computed, see metalearn.config.engine.
    """

    model: nn.Module
    objective: Objective
    way: int
    shot: int
    query: int
    norm: NormMode
    labels: int | None
    head_layer: str | None = None
    meta_batch: int
    inner_steps: int
    inner_steps_test: int
    inner_optimizer: dict[str, Any] = field(default_factory=lambda: {"name": "SGD", "lr": 0.1})
    reduction: Literal["mean", "sum", "shot_mean"] = "mean"
    seed: int = 0
    engine: EngineSettings = field(default_factory=EngineSettings)

    def __post_init__(self) -> None:
        at_least(1, meta_batch=self.meta_batch)
        at_least(0, inner_steps=self.inner_steps, inner_steps_test=self.inner_steps_test)


@contextmanager
def naming(setting: str, value: int | None) -> Iterator[None]:
    """Name a setting of training tasks in the error of a source that cannot give such tasks; None changes nothing."""
    try:
        yield
    except UserError as error:
        if value is None:
            raise
        raise UserError(f"{setting}={value}: {error}, or lower {setting}=") from error
