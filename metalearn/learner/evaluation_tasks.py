"""The settings of an evaluation of a learner."""

from dataclasses import dataclass
from typing import Literal

from metalearn.config.checks import at_least
from metalearn.models.norm import NormMode


@dataclass(kw_only=True)
class EvaluationTasks:
    """The tasks that a learner is evaluated on, and how it adapts to them."""

    way: int
    shot: int
    query: int  # query images a class
    norm: NormMode
    inner_steps: int
    tasks: int
    seed: int
    split: Literal["train", "validation", "test", "all"]

    def __post_init__(self) -> None:
        at_least(1, way=self.way, shot=self.shot, query=self.query)
        at_least(0, inner_steps=self.inner_steps, seed=self.seed)
        at_least(2, tasks=self.tasks)
