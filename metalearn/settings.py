"""The settings of a run that belong to no single part, with their ranges."""

from dataclasses import dataclass

from metalearn.models.norm import NormMode


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
class Settings:
    """What is learned and for how long. Values are in conf/config.yaml."""

    way: int
    shot: int
    query: int
    steps: int
    seed: int
    norm: NormMode
    device: str
    log_every: int

    def __post_init__(self) -> None:
        _at_least(self, way=1, shot=1, query=1, steps=0, seed=0, log_every=1)
        if self.seed >= 2**63:
            raise ValueError(f"seed={self.seed}: must be below 2**63")


def _at_least(settings: object, **limits: int) -> None:
    for name, least in limits.items():
        if (value := getattr(settings, name)) < least:
            raise ValueError(f"{name}={value}: must be at least {least}")
