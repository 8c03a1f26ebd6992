"""Settings of a search that say where its trials are trained: in this program, or by Ray Tune on a cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from metalearn.config.checks import at_least
from metalearn.config.instantiate import call
from metalearn.runtime.errors import UserError

PRUNE, COMPETE = ("none", "asha"), ("none", "hyperband")  # what Ray Tune has of search.prune and search.compete


@dataclass(kw_only=True, frozen=True)
class PopulationSettings:
    """Settings of population-based training, `search.pbt`.

    Args:
        every: meta-steps between two exchanges; None: a tenth of a training.
        quantile: share of the trials, the worst, that take over the checkpoint of one of the best, an equal share.
        resample: probability that a setting is drawn anew and not perturbed.
        factors: a number that is perturbed is multiplied by one of these.
    """

    every: int | None
    quantile: float
    resample: float
    factors: list[float]

    def __post_init__(self) -> None:
        if self.every is not None:
            at_least(1, every=self.every)
        if not 0 < self.quantile <= 0.5:
            raise ValueError(f"quantile={self.quantile}: must be above 0 and at most 0.5")
        if not 0 <= self.resample <= 1:
            raise ValueError(f"resample={self.resample}: must be between 0 and 1")
        if not self.factors or min(self.factors) <= 0:
            raise ValueError(f"factors={self.factors}: must be numbers above 0")


@dataclass(kw_only=True, frozen=True)
class ResourceSettings:
    """Resources of a machine that a trial on Ray takes, `search.resources`.

    Args:
        cpu: cores, and threads of the training; None: this machine's threads divided by `search.workers`, or 1 on a
            cluster that runs.
        gpu: GPUs, also a part of one; None: one where the device is a GPU.
    """

    cpu: int | None
    gpu: float | None

    def __post_init__(self) -> None:
        if self.cpu is not None:
            at_least(1, cpu=self.cpu)
        if self.gpu is not None and self.gpu < 0:
            raise ValueError(f"gpu={self.gpu}: must be at least 0")


@dataclass(kw_only=True, frozen=True)
class EngineSettings:
    """Settings of the engine of a search."""

    engine: Literal["embedded", "ray"]
    address: str | None  # of a running Ray cluster
    storage_path: str | None  # a folder that all machines of that cluster see
    resources: dict[str, Any]  # of a trial on Ray
    pbt: dict[str, Any] | None  # population-based training

    @property
    def population(self) -> PopulationSettings | None:
        """Settings of population-based training; None for a search by a sampler."""
        if self.pbt is None:
            return None
        found: PopulationSettings = call(PopulationSettings, self.pbt, "search.pbt")
        return found

    @property
    def trial_resources(self) -> ResourceSettings:
        """The resources of a trial."""
        found: ResourceSettings = call(ResourceSettings, self.resources, "search.resources")
        return found

    def check_rungs(self, prune: str, compete: str, factor: int, steps: int, first: int) -> None:
        """Check that a training on Ray is long enough for a rung before its end.

        Args:
            steps: meta-steps of a full training.
            first: meta-steps to the first rung.

        Raises:
            UserError: it is too short.
        """
        for name, value in {"prune": prune, "compete": compete}.items():
            if self.engine == "ray" and value != "none" and steps < factor * first:
                raise UserError(f"search.{name}={value}: {steps} meta-steps, of which {first} are the first rung, "
                                "leave no rung before the end; lower eval.every= or search.first_rung=, or raise "
                                "steps=")  # fmt: skip

    def check(self, *, sampler: str | None, prune: str, compete: str, seeds: int, workers: int, storage: str | None,
              objectives: Sequence[str]) -> None:  # fmt: skip
        """Check the engine together with the other settings of a search.

        Raises:
            ValueError: they do not go together.
        """
        self._check_population(sampler, prune, compete, objectives)
        if self.engine == "embedded":
            for name, value in {"address": self.address, "storage_path": self.storage_path}.items():
                if value is not None:
                    raise ValueError(f"{name}={value}: is a setting of engine=ray")
            if prune == "asha":
                raise ValueError("prune=asha: is Ray's and needs engine=ray; without it take prune=halving")
            return
        _ = self.trial_resources
        if storage is not None:
            raise ValueError("storage: engine=ray keeps its study in the sweep's folder, so that it takes no database")
        if seeds > 1:
            raise ValueError(f"seeds={seeds}: engine=ray follows one run a trial, so that it needs seeds=1")
        for name, value, known in (("prune", prune, PRUNE), ("compete", compete, COMPETE)):
            if value not in known:
                raise ValueError(f"{name}={value}: engine=ray has {name}={known[1]}")
        if self.address is not None and self.storage_path is None:
            raise ValueError("address: needs storage_path=FOLDER, on a file system that all its machines see")
        if self.address is not None and workers > 1:
            raise ValueError(f"workers={workers}: are of this machine; with address= the cluster's cores decide")
        if (self.address or "").startswith("ray://"):
            raise ValueError("address: start the command on a machine of the cluster, with address=auto or HOST:6379")

    def _check_population(self, sampler: str | None, prune: str, compete: str, objectives: Sequence[str]) -> None:
        if self.pbt is None:
            if sampler is None:
                raise ValueError("sampler=null: only search=pbt has none")
            return
        _ = self.population
        if sampler is not None:
            raise ValueError(f"sampler={sampler}: search=pbt draws its own start and perturbs from there, so that it "
                             "takes no sampler")  # fmt: skip
        if self.engine != "ray":
            raise ValueError(f"engine={self.engine}: search=pbt needs engine=ray")
        for name, value in {"prune": prune, "compete": compete}.items():
            if value != "none":
                raise ValueError(f"{name}={value}: search=pbt trains all its trials to their end")
        if objectives:
            raise ValueError("objectives: search=pbt follows the validation score, so that it needs objectives=[]")
