"""The trainable of Ray Tune: a training of this package that is paused at each validation, saved, restored, resumed."""

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray.tune import Trainable

from metalearn.controls.loop import ControlLoop, Paused
from metalearn.errors import Unfinished
from metalearn.lifecycle.launch import launch
from metalearn.lifecycle.run_folder import Invocation
from metalearn.runtime.console import logged
from metalearn.search.on_ray import saved
from metalearn.search.population import Schedule, extended
from metalearn.search.records import failure
from metalearn.search.report_control import Report
from metalearn.search.settings import Goal
from metalearn.search.study import OWN

ORDER, REPORT = "order", "report"  # entries of Ray's configuration and result: JSON, which Ray leaves alone
SCORE, TIME = "score", "time"  # entries of Ray's result for its schedulers
WORST = 1e30  # size of the score of a trial that has none: Ray sorts no infinities
LOG = "trial.txt"  # in a run folder: what the training prints
_LOOK = 1.0  # seconds between two looks for the file that stops a search


@dataclass(frozen=True, kw_only=True)
class Order:
    """A trial to train, as the process that searches describes it to another.

    Args:
        number: of the trial.
        config: of the run, plain values.
        words: of the command line.
        settings: hyperparameters by name.
        goals: entries of result.json.
        score: name of the validation score.
        maximize: True if a higher one is better.
        unit: meta-steps that count as one for Ray's schedulers.
        group: the sweep.
        threads: of the training.
        folder: the working folder of the process that searches.
        stop: a file whose presence stops the search.
        start: a checkpoint of Ray from an earlier session to resume from.
    """

    number: int
    config: Mapping[str, Any]
    words: list[str]
    settings: Mapping[str, Any]
    goals: list[str]
    score: str
    maximize: bool
    unit: int
    group: str
    threads: int
    folder: str
    stop: str
    start: str | None = None

    def spell(self) -> dict[str, str]:
        """Return Ray's configuration of the trial."""
        return {ORDER: json.dumps(asdict(self))}

    @property
    def worst(self) -> float:
        """The score of a trial that has none."""
        return -WORST if self.maximize else WORST

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "Order":
        """Return the order in a configuration of Ray."""
        return cls(**json.loads(config[ORDER]))


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a trial since its last pause.

    Args:
        number: of the trial.
        step: meta-steps so far.
        losses: new validation losses by meta-step.
        settings: under which it was trained.
        schedule: all settings that led to its weights, by the meta-step from which they held.
        seconds: duration.
        results: entries of result.json by name, if it was trained to its end.
        failure: why it failed.
        stopped: it was saved between two validations, for the search stops.
    """

    number: int
    step: int
    losses: list[tuple[int, float]]
    settings: Mapping[str, Any]
    schedule: Schedule
    seconds: float
    results: Mapping[str, Any] | None = None
    failure: str | None = None
    stopped: bool = False

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> "Progress":
        """Return the progress in a result of Ray."""
        return cls(**json.loads(result[REPORT]))


class Watch(Report):
    """Pause at the first new validation, and soon after the file that stops the search is there.

    Args:
        begin: the meta-step at which the training is resumed.
        stop: the file.
    """

    def __init__(self, begin: int, stop: Path):
        super().__init__(self._measured)
        self.losses: list[tuple[int, float]] = []
        self.step, self._begin, self._stop, self._looked = begin, begin, stop, -_LOOK

    def _measured(self, step: int, loss: float) -> str | None:
        self.step = step
        if step <= self._begin:  # measured before the pause
            return None
        self.losses.append((step, loss))
        return f"validated at step {step}"

    def tick(self, run: ControlLoop) -> None:
        """Look for the file once a second.

        Raises:
            Paused: it is there.
        """
        self.step = run.step
        if (now := time.monotonic()) - self._looked >= _LOOK:
            self._looked = now
            if self._stop.exists():
                raise Paused("the search stops")


class Training(Trainable):
    """A trial in a process of Ray, which may train one after another."""

    def setup(self, config: dict[str, Any]) -> None:
        """Prepare for a trial, with its checkpoint of an earlier session if there is one."""
        import torch

        self._order = order = Order.read(config)
        if os.path.isdir(order.folder):  # for relative paths, and classes of the user's
            os.chdir(order.folder)
            if order.folder not in sys.path:
                sys.path.insert(0, order.folder)
        torch.set_num_threads(order.threads)
        self._run = Path(self.logdir) / f"{order.number}_{os.getpid()}"
        self._schedule: Schedule = []
        self._step, self._score = 0, order.worst
        if order.start:
            self.load_checkpoint(order.start)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Prepare for another trial."""
        self.cleanup()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train to the next validation, or to the end."""
        began, order = time.monotonic(), self._order
        self._schedule = extended(self._schedule, self._step, order.settings)
        watch = Watch(self._step, Path(order.stop))
        ended: dict[str, Any] = {}
        try:
            with logged(self._run / LOG):
                group = Invocation(overrides=order.words, group=order.group)
                result = launch(order.config, self._run, group, controls={OWN: watch}).result
            ended = {"results": {name: result.get(name) for name in order.goals}}
            watch.step = int(result["steps_taken"])
        except Paused:
            ended = {"stopped": not watch.losses}
        except (Unfinished, OSError):  # the machine, not the trial: Ray tries again
            raise
        except Exception as error:
            ended = {"failure": failure(error)}
        self._step = max(watch.step, self._step)
        if watch.losses:
            self._score = self._of(watch.losses[-1][1])
        progress = Progress(
            number=order.number,
            step=self._step,
            losses=watch.losses,
            settings=order.settings,
            schedule=self._schedule,
            seconds=time.monotonic() - began,
            **ended,
        )
        done = progress.results is not None or progress.failure is not None
        if progress.failure:
            self._score = order.worst
        if progress.stopped:
            time.sleep(_LOOK)  # it is asked again until the search has stopped
        return {SCORE: self._score, TIME: self._step / order.unit, REPORT: json.dumps(asdict(progress)), "done": done}

    def _of(self, loss: float) -> float:
        """Return the score of a validation loss, as a number that Ray can sort."""
        score = Goal(self._order.score, self._order.maximize).score(loss)
        return score if abs(score) < WORST else self._order.worst

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Copy the run with its checkpoint."""
        saved.save(self._run, Path(checkpoint_dir), self._order.number, self._schedule)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Take over the run of a checkpoint: this trial's own, or that of a better one."""
        found = saved.load(Path(checkpoint), self._run)
        self._schedule, self._step = found.schedule, saved.step(self._run)

    def cleanup(self) -> None:
        """Remove the run of the last trial; Ray has its checkpoint."""
        saved.remove(self._run)
