"""The settings of a run that belong to no single part, with their ranges."""

from dataclasses import dataclass
from typing import Any, Literal

from metalearn.models.norm import NormMode
from metalearn.runtime.device import Precision


@dataclass(kw_only=True)
class Evaluation:
    """How a learner is measured. Values are in conf/config.yaml."""

    every: int  # meta-steps between two measurements on the validation classes
    tasks: int  # validation tasks in each
    test_tasks: int  # tasks of the one test at the end
    query: int  # query images a class in both

    def __post_init__(self) -> None:
        _at_least(self, every=1, tasks=2, test_tasks=2, query=1)


@dataclass(kw_only=True)
class Control:
    """How long is trained: see metalearn.controls. Values are in conf/control/."""

    retrain: bool  # once more, afresh on training and validation classes, for the number of steps that was best
    cycle: dict[str, Any]  # controls by name, in order


@dataclass(kw_only=True)
class Settings:
    """What is learned and for how long. Values are in conf/config.yaml."""

    way: int
    shot: int
    query: int
    steps: int
    seed: int
    norm: NormMode
    device: str
    precision: Precision
    cuda_graph: bool
    log_every: int
    pictures: Literal["png", "pdf", "svg"]
    test: bool  # False leaves the test classes alone
    profile: bool
    init: str | None
    resume: str | None
    allow_changes: bool
    trust: bool

    def __post_init__(self) -> None:
        _at_least(self, way=1, shot=1, query=1, steps=0, seed=0, log_every=1)
        if self.init is not None and not self.init.strip():
            raise ValueError("init=: is empty: name a run's folder or a checkpoint")
        if self.seed >= 2**63:
            raise ValueError(f"seed={self.seed}: must be below 2**63")


def _at_least(settings: object, **limits: int) -> None:
    for name, least in limits.items():
        if (value := getattr(settings, name)) < least:
            raise ValueError(f"{name}={value}: must be at least {least}")
