"""Settings of a run that belong to no single component, with their ranges."""

from dataclasses import dataclass
from typing import Any, Literal

from metalearn.config.checks import at_least
from metalearn.models.norm import NormMode


@dataclass(kw_only=True, frozen=True)
class EvaluationSettings:
    """Settings of validation and test. Values are in conf/config.yaml."""

    every: int  # meta-steps between two measurements on the validation classes
    tasks: int  # validation tasks in each
    test_tasks: int  # tasks of the test at the end
    query: int  # query images a class in both

    def __post_init__(self) -> None:
        at_least(1, every=self.every, query=self.query)
        at_least(2, tasks=self.tasks, test_tasks=self.test_tasks)


@dataclass(kw_only=True, frozen=True)
class ControlSettings:
    """Settings of the control loop; see metalearn.controls. Values are in conf/control/."""

    retrain: bool  # train again from scratch on training and validation classes, for the best number of meta-steps
    cycle: dict[str, Any]  # controls by name, in order


@dataclass(kw_only=True, frozen=True)
class RunSettings:
    """Top-level settings: the task, the number of meta-steps, the machine. Values are in conf/config.yaml."""

    way: int
    shot: int
    query: int
    steps: int
    seed: int
    norm: NormMode
    device: str
    log_every: int
    pictures: Literal["png", "pdf", "svg", "none"]
    test: bool  # False does not touch the test classes
    profile: bool
    init: str | None
    resume: str | None
    allow_changes: bool
    trust: bool

    def __post_init__(self) -> None:
        at_least(1, way=self.way, shot=self.shot, query=self.query, log_every=self.log_every)
        at_least(0, steps=self.steps, seed=self.seed)
        if self.init is not None and not self.init.strip():
            raise ValueError("init=: is empty: name a run's folder or a checkpoint")
        if self.seed >= 2**63:
            raise ValueError(f"seed={self.seed}: must be below 2**63")
