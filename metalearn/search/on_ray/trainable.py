"""The trainable of Ray Tune: a training of this package that is paused at each validation, saved, restored, resumed."""

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray.tune import Trainable

from metalearn.controls.loop import ControlLoop, Paused
from metalearn.lifecycle.launch import launch
from metalearn.lifecycle.run_folder import Invocation
from metalearn.runtime.console import logged
from metalearn.runtime.errors import Unfinished
from metalearn.search.on_ray import saved
from metalearn.search.on_ray.messages import REPORT, SCORE, TIME, WORST, Order, Progress
from metalearn.search.population import Schedule, extended
from metalearn.search.records import failure
from metalearn.search.report_control import Report
from metalearn.search.settings import Goal
from metalearn.search.study import OWN

_LOOK = 1.0  # seconds between two looks for the file that stops a search


class Watch(Report):
    """Pause at the first new validation, or soon after the file appears that stops the search.

    Args:
        begin: the meta-step of the last validation.
        stop: the file.
    """

    def __init__(self, begin: int, stop: Path):
        super().__init__(self._validated)
        self.losses: list[tuple[int, float]] = []
        self.step, self._begin, self._stop, self._looked = begin, begin, stop, -_LOOK

    def _validated(self, step: int, loss: float) -> str | None:
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
                raise Paused("paused: the search stops")


class Training(Trainable):
    """A trial in a process of Ray. One process may train several trials, one after the other."""

    def setup(self, config: dict[str, Any]) -> None:
        """Prepare for a trial, with its checkpoint of an earlier session if there is one."""
        import torch

        self._order = order = Order.read(config)
        if os.path.isdir(order.folder):  # for relative paths, and classes of the user's
            os.chdir(order.folder)
            if order.folder not in sys.path:
                sys.path.insert(0, order.folder)
        torch.set_num_threads(order.threads)
        self._run = Path(self.logdir) / str(os.getpid()) / order.group / str(order.number)
        self._schedule: Schedule = []
        self._step, self._measured, self._score = 0, 0, order.worst
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
        watch = Watch(self._measured, Path(order.stop))
        ended: dict[str, Any] = {}
        try:
            with logged(self._run / saved.LOG):
                own = Invocation(overrides=order.words, group=order.group, identity=order.identity, role="trial")
                result = launch(order.config, self._run, own, controls={OWN: watch}).result
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
            self._measured, loss = watch.losses[-1]
            self._score = self._of(loss)
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
        saved.save(self._run, Path(checkpoint_dir), self._order.number, self._schedule, self._measured)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Take over the run of a checkpoint: this trial's own, or that of a better one."""
        found = saved.load(Path(checkpoint), self._run)
        self._schedule, self._measured = found.schedule, found.measured
        self._step = saved.step(self._run)

    def cleanup(self) -> None:
        """Remove the run of the last trial; Ray has its checkpoint."""
        saved.remove(self._run)
