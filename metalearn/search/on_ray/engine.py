"""A search whose trials Ray Tune trains, on this machine or on a cluster."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback
from ray.tune.search import Searcher

from metalearn.runtime.signals import NAMES, Signals, Stopped
from metalearn.search import study_loop
from metalearn.search.on_ray import saved
from metalearn.search.on_ray.cluster import Cluster
from metalearn.search.on_ray.ledger import Ledger
from metalearn.search.on_ray.messages import ORDER, SCORE, Order, Progress
from metalearn.search.on_ray.schedulers import Population, scheduler_of
from metalearn.search.on_ray.trainable import Training
from metalearn.search.plan import Plan
from metalearn.search.progress import StudyProgress
from metalearn.search.records import RETRIES
from metalearn.search.study import Study
from metalearn.search.trial import SILENT, Compose

NUMBERS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
_PATIENCE = 120.0  # seconds that a stopped search waits for its trials to be saved


class Asking(Searcher):
    """A searcher of Ray that asks the study.

    Args:
        next_order: returns the next trial, or None when there will be none.
    """

    def __init__(self, next_order: Callable[[], Order | None], maximize: bool):
        super().__init__(metric=SCORE, mode="max" if maximize else "min")
        self._next = next_order

    def suggest(self, trial_id: str) -> Any:
        """Return the configuration of the next trial."""
        order = self._next()
        return Searcher.FINISHED if order is None else order.spell()

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Do nothing: the study is told by `Listening`."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study is its own record."""


class Listening(Callback):
    """Records what Ray reports, and stops it after a signal, when the running trials are saved.

    Args:
        ledger: that records.
        signals: of this process.
        stop: a file that tells the trials to stop.
    """

    def __init__(self, ledger: Ledger, signals: Signals, stop: Path):
        self._ledger, self._signals, self._stop = ledger, signals, stop
        self._handlers = [(number, signal.getsignal(number)) for number in NUMBERS]
        self._since: float | None = None
        self._saved: set[Any] = set()

    @property
    def stopping(self) -> bool:
        """True after a signal."""
        return self._since is not None

    def setup(self, *args: Any, **info: Any) -> None:
        """Take the signals back, which Ray has taken over."""
        for number, handler in self._handlers:
            signal.signal(number, handler)

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look for a signal.

        Raises:
            Stopped: there was one, and the running trials are saved.
        """
        try:
            self._signals.check()
        except Stopped:
            if not self.stopping:
                self._stop.touch()
                self._since = time.monotonic()
            running = [trial for trial in trials if trial.status == "RUNNING" and trial not in self._saved]
            if not running or time.monotonic() - (self._since or 0.0) > _PATIENCE:
                raise

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any],
                        **info: Any) -> None:  # fmt: skip
        """Record the progress of a trial."""
        progress = Progress.read(result)
        self._ledger.progress(progress.number, progress, f"{result['node_ip']}:{result['pid']}")

    def on_trial_save(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note that a trial is saved."""
        if self.stopping:
            self._saved.add(trial)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record the end of a trial."""
        self._end(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record that the processes of a trial were lost too often."""
        self._end(trial, lost=True)

    def _end(self, trial: Any, lost: bool = False) -> None:
        checkpoint = trial.checkpoint
        number = Order.read(trial.config).number
        self._ledger.end(number, Path(checkpoint.path) if checkpoint else None, lost)


def run(study: Study, asked: Plan, folder: Path, compose: Compose, cluster: Cluster, signals: Signals) -> str:
    """Train the trials of a study by Ray until none is left; return why the study ended.

    Args:
        study: with the trials of earlier sessions, of which the unfinished ones wait.
        asked: the search.
        folder: of the study.
        compose: returns the configuration of some words of the command line.
        cluster: that trains; it is started here if need be.
        signals: of this process.

    Raises:
        Stopped: after a signal. The running trials are saved, and wait in the study.
    """
    settings, setup = asked.settings, asked.setup
    sessions = cluster.sessions(folder)
    name = saved.next_session(sessions)
    stop = sessions / name / "stop"
    population = settings.population
    unit = setup.evaluation.every
    if not population:
        unit = settings.first_rung or unit
    goal = asked.goals[0]

    def make(number: int, values: Mapping[str, Any], words: list[str]) -> Order:
        words = [*asked.fixed, *words, *SILENT]
        config = compose(words) | {"resume": "auto", "allow_changes": population is not None}
        return Order(
            number=number,
            config=config,
            words=words,
            settings=values,
            goals=[each.name for each in asked.goals],
            score=f"val_{setup.objective.name}",
            maximize=setup.objective.better(1.0, 0.0),
            unit=unit,
            group=folder.name,
            threads=cluster.cpu,
            folder=os.getcwd(),
            stop=str(stop),
        )

    with StudyProgress(study) as progress:
        ledger = Ledger(study, folder, sessions, make, progress.update)
        listening = Listening(ledger, signals, stop)
        ending: list[str] = []

        def wanted() -> bool:
            """Return False once the study is to end."""
            if not ending and (reason := study_loop.verdict(study, settings.control, settings.failures)):
                ending.append(reason)
            return not ending and not listening.stopping

        if population:
            every = population.every or max(1, round(setup.settings.steps / 10 / unit)) * unit
            orders = list(iter(lambda: ledger.next(wanted), None))
            scheduler: Any = Population(asked.space, population, every / unit, ledger.changed, settings.seed)
            how: dict[str, Any] = {"config": {ORDER: tune.grid_search([order.spell()[ORDER] for order in orders])}}
            keep = round(every / unit) + 2
        else:
            scheduler = scheduler_of(settings, setup.settings.steps, unit)
            how, keep = {"search_alg": Asking(lambda: ledger.next(wanted), goal.maximize), "num_samples": -1}, 2
        (sessions / name).mkdir(parents=True)
        try:
            with cluster.started():
                tune.run(
                    Training,
                    name=name,
                    metric=SCORE,
                    mode="max" if goal.maximize else "min",
                    storage_path=str(sessions),
                    scheduler=scheduler,
                    callbacks=[listening],
                    resources_per_trial=cluster.resources,
                    max_failures=RETRIES,
                    reuse_actors=True,
                    raise_on_failed_trial=False,
                    verbose=0,
                    trial_dirname_creator=lambda trial: str(Order.read(trial.config).number),
                    checkpoint_config=tune.CheckpointConfig(num_to_keep=keep, checkpoint_frequency=1),
                    **how,
                )
        finally:
            ledger.leave()
    shutil.rmtree(sessions, ignore_errors=True)  # the run folders are copied
    return ending[0] if ending else f"all {study.trials} trials are done"
