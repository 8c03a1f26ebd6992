"""Settings of a search, with their ranges. Values are in conf/search/."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from metalearn.config.checks import at_least
from metalearn.runtime.errors import UserError
from metalearn.search.engine_settings import EngineSettings


@dataclass(kw_only=True, frozen=True)
class SearchSettings(EngineSettings):
    """Settings of a search."""

    sampler: str | None  # None: population-based training, which draws by itself
    options: dict[str, Any]  # of the sampler
    space: dict[str, str]  # hyperparameters by name, in the syntax of the command line
    trials: int  # configurations in total
    seed: int  # of the sampler
    seeds: int  # runs of each configuration, with different seeds; their scores are averaged
    objectives: list[str]  # entries of result.json; empty: the validation score
    prune: Literal["none", "median", "halving", "hyperband", "asha"]
    compete: Literal["none", "halving", "hyperband"]
    factor: int  # competing models: one of `factor` is promoted, and trains `factor` times as long
    first_rung: int | None  # competing models: meta-steps of the first rung
    failures: int  # failed trials that are tolerated; one more ends the study
    workers: int  # processes on this machine
    storage: str | None  # a PostgreSQL database, which workers on several machines share
    name: str | None  # of the study in that database
    heartbeat: int  # seconds between two signs of life of a worker
    control: dict[str, Any]  # controls that end the study early
    confirm: int  # best configurations that are trained again with fresh seeds; 0: none
    confirm_seeds: int
    confirm_tasks: int  # new validation tasks on which they are compared

    def __post_init__(self) -> None:
        at_least(1, trials=self.trials, seeds=self.seeds, workers=self.workers, heartbeat=self.heartbeat)
        at_least(0, seed=self.seed, failures=self.failures, confirm=self.confirm)
        at_least(2, factor=self.factor, confirm_seeds=self.confirm_seeds, confirm_tasks=self.confirm_tasks)
        if self.first_rung is not None:
            at_least(1, first_rung=self.first_rung)
        if self.prune != "none" and self.compete != "none":
            raise ValueError("prune, compete: a pruned trial is never resumed, a competing one is; take one of the two")
        for name, value in {"prune": self.prune, "compete": self.compete}.items():
            if value != "none" and self.objectives:
                raise ValueError(f"{name}={value}: follows the validation score, so that it needs objectives=[]")
            if value != "none" and self.seeds > 1:
                raise ValueError(f"{name}={value}: follows one run a trial, so that it needs seeds=1")
        self.check(
            sampler=self.sampler,
            prune=self.prune,
            compete=self.compete,
            seeds=self.seeds,
            workers=self.workers,
            storage=self.storage,
            objectives=self.objectives,
        )
        if self.storage is not None:
            _check_storage(self.storage, self.name, self.compete)
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError(f"objectives={self.objectives}: an objective is there twice")

    @property
    def draws_by(self) -> str:
        """The sampler that draws the trials; those of a population begin at random."""
        return self.sampler or "random"


def _check_storage(storage: str, name: str | None, compete: str) -> None:
    scheme = storage.partition("://")[0].partition("+")[0]
    if scheme == "sqlite":
        raise ValueError("storage: SQLite is no database for several workers; take storage=postgresql://USER@HOST/"
                         "DATABASE, or on one machine workers=N without storage")  # fmt: skip
    if scheme not in ("postgresql", "postgres"):
        raise ValueError("storage: is not the URL of a PostgreSQL database, postgresql://USER@HOST/DATABASE")
    if not name or name.startswith(".") or "/" in name:
        raise ValueError("storage: needs name=NAME, of the study that its workers share, and of its folder")
    if compete != "none":
        raise ValueError(f"compete={compete}: pauses trainings whose checkpoints are on one machine, so that it takes "
                         "no storage; take prune, workers=N on one machine, or engine=ray")  # fmt: skip


@dataclass(frozen=True)
class Goal:
    """An objective of a search.

    Args:
        name: an entry of result.json.
        maximize: True if higher is better.
    """

    name: str
    maximize: bool

    @property
    def direction(self) -> str:
        """The direction as Optuna spells it."""
        return "maximize" if self.maximize else "minimize"

    def loss(self, score: float) -> float:
        """Return a score as controls read it: lower is better. An accuracy becomes an error rate."""
        return 1 - score if self.name.endswith("accuracy") else -score if self.maximize else score

    def score(self, loss: float) -> float:
        """Return the score of a loss, the inverse of `loss`."""
        return 1 - loss if self.name.endswith("accuracy") else -loss if self.maximize else loss


def goals(settings: SearchSettings, score: str) -> Sequence[Goal]:
    """Return the objectives of a search.

    Args:
        score: name of the validation score of these runs, `val_accuracy` or `val_mse`.

    Raises:
        UserError: an objective of the test, or one whose direction is unknown.
    """
    names = settings.objectives or [score]
    for name in names:
        if name.startswith(("test_", "paper_")):
            raise UserError(f"search.objectives: {name}: a search never looks at the test classes")
        if not name.endswith(("accuracy", "_per_second", "_mse", "_loss", "_seconds", "params", "steps_taken")):
            raise UserError(f"search.objectives: {name}: unknown; there are {score}, train_seconds, params, "
                            "steps_taken, tasks_per_second")  # fmt: skip
    return [Goal(name, name.endswith(("accuracy", "_per_second"))) for name in names]
