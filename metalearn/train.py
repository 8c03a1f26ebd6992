"""The meta-training loop."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metalearn import checkpoint
from metalearn.algorithms.base import Algorithm, Meta
from metalearn.console import Progress
from metalearn.data.tasks import Source
from metalearn.evaluate import Score
from metalearn.outer import Outer
from metalearn.record import Record


class Training:
    """Meta-train, measure on validation classes, keep the last and the best learner.

    After `run`, `best` is the score on the validation classes that chose `best.pt`; `seconds` counts
    training alone, without evaluation.
    """

    def __init__(self, algorithm: Algorithm, outer: Outer, source: Source, validate: Callable[[Meta], Score],
                 record: Record, spec: dict[str, Any], *, device: str, steps: int, log_every: int,
                 eval_every: int):  # fmt: skip
        self.algorithm, self.outer, self.source, self.validate = algorithm, outer, source, validate
        self.record, self.spec, self.device = record, spec, device
        self.steps, self.log_every, self.eval_every = steps, log_every, eval_every
        self.meta = outer.meta
        self.score_name = "mse" if algorithm.regression else "accuracy"
        self.step, self.seconds, self.best, self.best_step = 0, 0.0, Score(float("nan"), 0.0, 0, []), -1
        self._since: list[dict[str, Tensor]] = []  # metrics of the steps since the last log, still on the device

    def run(self) -> None:
        """All steps, with a measurement every `eval_every` and at the end."""
        with Progress(self.steps) as progress:
            self._started = time.perf_counter()
            while self.step < self.steps:
                batch = self.algorithm.draw(self.source, self.step, self.device)
                result = self.algorithm.meta_gradient(self.meta, batch)
                self.outer.step(result)
                self._since.append(result.metrics)
                self.step += 1
                evaluating = self.step % self.eval_every == 0 or self.step == self.steps
                if evaluating or self.step % self.log_every == 0:
                    row = self._log()
                    progress.update(self.step, row)
                    if evaluating:
                        row |= self._evaluate()
                        progress.evaluated(self.step, row)
                    self.record.log(self.step, row)
                    self._started = time.perf_counter()
        if self.best_step < 0:  # no step was asked for: the learner before training is the only one
            self._evaluate()

    @property
    def tasks_per_second(self) -> float:
        """Mean over the whole training, evaluation not counted."""
        return self.step * self.algorithm.meta_batch / self.seconds if self.seconds else 0.0

    def _log(self) -> dict[str, float]:
        """Means since the last log. Reading the values waits for the device, once per log."""
        stacked = {name: torch.stack([m[name] for m in self._since]).mean() for name in self._since[0]}
        row = {f"train_{name}": value.item() for name, value in stacked.items()}
        elapsed = time.perf_counter() - self._started
        self.seconds += elapsed
        row["lr"] = self.outer.lr
        row["tasks_per_second"] = len(self._since) * self.algorithm.meta_batch / elapsed
        row["train_seconds"] = self.seconds
        self._since.clear()
        return row

    def _evaluate(self) -> dict[str, float]:
        score = self.validate(self.meta)
        sign = -1 if self.algorithm.regression else 1
        better = sign * score.mean > sign * self.best.mean or math.isnan(self.best.mean)  # at first it is NaN
        if self.best_step < 0 or better:
            self.best, self.best_step = score, self.step
            self.save("best.pt")
        self.save("last.pt")
        return {f"val_{self.score_name}": score.mean, "val_ci95": score.ci95}

    def save(self, name: str) -> Path:
        """Write a checkpoint: the learner, and the state of the outer optimiser."""
        path = self.record.folder / "checkpoints" / name
        content = {
            "spec": self.spec,
            "meta": {n: v.detach() for n, v in self.meta.items()},
            "step": self.step,
            "optimizer": self.outer.optimizer.state_dict(),
            "best": {"step": self.best_step, "score": self.best.mean},
        }
        checkpoint.save(path, content)
        return path
