"""A search whose trials Ray Tune trains, on this machine or on a cluster."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune

from metalearn.runtime.signals import Signals
from metalearn.search import study_loop
from metalearn.search.on_ray import saved
from metalearn.search.on_ray.cluster import Cluster
from metalearn.search.on_ray.ledger import Ledger
from metalearn.search.on_ray.listening import Asking, Listening
from metalearn.search.on_ray.messages import ORDER, SCORE, Order
from metalearn.search.on_ray.schedulers import Population, scheduler_of
from metalearn.search.on_ray.trainable import Training
from metalearn.search.plan import Plan
from metalearn.search.progress import StudyProgress
from metalearn.search.records import IDENTITY, RETRIES
from metalearn.search.study import Study
from metalearn.search.trial import SILENT, Compose


def run(study: Study, asked: Plan, folder: Path, compose: Compose, cluster: Cluster, identity: str,
        signals: Signals) -> str:  # fmt: skip
    """Train the trials of a study by Ray until none is left; return why the study ended.

    Args:
        study: with the trials of earlier sessions, of which the unfinished ones wait.
        asked: the search.
        folder: of the study.
        compose: returns the configuration of some words of the command line.
        cluster: that trains; it is started here if need be.
        identity: of the study, for trackers.
        signals: of this process.

    Raises:
        Stopped: after a signal. The running trials are saved, and wait in the study.
    """
    sessions = cluster.sessions(folder, study.record.user_attrs[IDENTITY])
    session = Session(study, asked, folder, compose, cluster, identity, sessions, saved.next_session(sessions))
    ending = session.ending()
    if ending is None and study.more():
        with StudyProgress(study) as progress:
            session.train(signals, progress.update)
        ending = session.ending()
    shutil.rmtree(sessions, ignore_errors=True)  # the run folders are copied
    return ending or f"all {study.trials} trials are done"


@dataclass
class Session:
    """An experiment of Ray, which each start of a search makes anew.

    Args:
        study, asked, folder, compose, cluster, identity: as for `run`.
        sessions: folder of Ray's experiments.
        name: of this one.
    """

    study: Study
    asked: Plan
    folder: Path
    compose: Compose
    cluster: Cluster
    identity: str
    sessions: Path
    name: str
    _ended: str | None = field(default=None, init=False)

    def ending(self) -> str | None:
        """Return why the finished trials end the study, or None."""
        settings = self.asked.settings
        self._ended = self._ended or study_loop.verdict(self.study, settings.control, settings.failures)
        return self._ended

    def train(self, signals: Signals, ended: Callable[[], None]) -> None:
        """Train until Ray has nothing left to do.

        Args:
            signals: of this process.
            ended: called after each trial.
        """
        ledger = Ledger(self.study, self.folder, self.sessions, self._order, ended)
        listening = Listening(ledger, signals, self._stop)

        def next_order() -> Order | None:
            return ledger.next(lambda: not listening.stopping and self.ending() is None)

        (self.sessions / self.name).mkdir(parents=True)
        try:
            how = self._population(ledger, next_order) if self.asked.settings.pbt else self._by_sampler(next_order)
            with self.cluster.started():
                tune.run(
                    Training,
                    name=self.name,
                    metric=SCORE,
                    mode="max" if self._maximize else "min",
                    storage_path=str(self.sessions),
                    callbacks=[listening],
                    resources_per_trial=self.cluster.resources,
                    max_failures=RETRIES,
                    reuse_actors=True,
                    raise_on_failed_trial=False,
                    verbose=0,
                    trial_dirname_creator=lambda trial: str(Order.read(trial.config).number),
                    **how,
                )
        finally:
            ledger.leave()

    def _by_sampler(self, next_order: Callable[[], Order | None]) -> dict[str, Any]:
        """Return what Ray needs to ask for one trial after another."""
        return {
            "scheduler": scheduler_of(self.asked.settings, self.asked.setup.settings.steps, self._unit),
            "search_alg": Asking(next_order, self._maximize),
            "num_samples": -1,  # until the study has no more
            "checkpoint_config": tune.CheckpointConfig(num_to_keep=2, checkpoint_frequency=1),
        }

    def _population(self, ledger: Ledger, next_order: Callable[[], Order | None]) -> dict[str, Any]:
        """Return what Ray needs to train all members of a population together."""
        settings, unit = self.asked.settings.population, self._unit
        assert settings is not None
        every = settings.every or max(1, round(self.asked.setup.settings.steps / 10 / unit)) * unit
        orders = list(iter(next_order, None))
        begin = max((order.begin for order in orders), default=0)
        scheduler = Population(self.asked.space, settings, every=every / unit, begin=begin / unit, order=ledger.changed,
                               seed=self.asked.settings.seed)  # fmt: skip
        kept = round(every / unit) + 2  # one that is taken over must be there until the next exchange
        return {
            "scheduler": scheduler,
            "config": {ORDER: tune.grid_search([order.spell()[ORDER] for order in orders])},
            "checkpoint_config": tune.CheckpointConfig(num_to_keep=kept, checkpoint_frequency=1),
        }

    def _order(self, number: int, values: Mapping[str, Any], words: list[str]) -> Order:
        """Describe a trial."""
        asked = self.asked
        words = [*asked.fixed, *words, *SILENT]
        return Order(
            number=number,
            config=self.compose(words) | {"resume": "auto", "allow_changes": asked.settings.pbt is not None},
            words=words,
            settings=values,
            goals=[goal.name for goal in asked.goals],
            score=f"val_{asked.setup.objective.name}",
            maximize=self._maximize,
            unit=self._unit,
            group=self.folder.resolve().name,
            identity=f"{self.identity}-{number}",
            threads=self.cluster.cpu,
            folder=os.getcwd(),
            stop=str(self._stop),
        )

    @property
    def _maximize(self) -> bool:
        """True if a higher validation score is better."""
        return self.asked.setup.objective.better(1.0, 0.0)

    @property
    def _unit(self) -> int:
        """Meta-steps that count as one for Ray's schedulers: to the first rung, or to a validation."""
        return self.asked.settings.first_rung or self.asked.setup.evaluation.every

    @property
    def _stop(self) -> Path:
        """The file that tells the trials to stop."""
        return self.sessions / self.name / "stop"
