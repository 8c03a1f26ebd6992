"""Meta-training as an iterative model: what the controls of metalearn.controls.loop drive."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.parameters import MetaGradient, MetaParameters
from metalearn.errors import UserError
from metalearn.recording.checkpoint import BEFORE, BEST, LAST, pack
from metalearn.recording.record import Record
from metalearn.runtime.console import evaluated, warn
from metalearn.runtime.files import write_atomically
from metalearn.runtime.progress import Progress
from metalearn.training.evaluate import Score, layer_statistics
from metalearn.training.outer_optimizer import OuterOptimizer


@dataclass(kw_only=True)
class Training:
    """Meta-train, measure on validation classes, keep the last and the best learner.

    After training, `best` is the score on the validation classes that chose `best_params`; `trained_seconds` counts
    training alone, without evaluation.

    Args:
        gradient: the meta-gradient of a meta-step, at the given meta-parameters.
        validate: the score of meta-parameters on the validation classes; None in a retraining, which uses them all.
        spec: see metalearn.learner.spec; goes into every checkpoint.
        limit: meta-steps, at most.
        log_every: meta-steps between rows of values.
        check: called before every meta-step; what it raises leaves everything whole.
        stepped: called after every meta-step.
        extra: further content of `last.pt`.
        make_learner: makes meta-parameters into what a user's control is given.
    """

    algorithm: Algorithm
    outer: OuterOptimizer
    gradient: Callable[[MetaParameters, int], MetaGradient]
    validate: Callable[[MetaParameters], Score] | None
    record: Record
    spec: dict[str, Any]
    device: str
    limit: int
    log_every: int
    check: Callable[[], None] = lambda: None
    stepped: Callable[[], None] = lambda: None
    extra: dict[str, Any] = field(default_factory=dict)
    make_learner: Callable[[MetaParameters], Any] = lambda params: params

    def __post_init__(self) -> None:
        self.objective = self.algorithm.objective
        self.step, self.trained_seconds = 0, 0.0
        self.invalid: str | None = None
        self.best, self.best_step = Score(math.nan, 0.0, 0, []), -1
        self.best_params: MetaParameters | None = None
        self.measured, self._loss = -1, math.nan  # the step of the last measurement, and what it gave
        self.progress: Progress | None = None
        self._since: list[dict[str, Tensor]] = []  # metrics of the steps since the last row, still on the device
        self._row_seconds = 0.0  # that they took
        self._lr = self.outer.lr  # of the last step
        self._spent, self._session = 0.0, time.monotonic()

    # -- the model that controls see (metalearn.controls.loop.Iterated) -------------------------------------------

    @property
    def seconds(self) -> float:
        """Time since the start, evaluation included, pauses between sessions not."""
        return self._spent + time.monotonic() - self._session

    @property
    def values(self) -> Mapping[str, float]:
        """The last row of metrics.csv and of timing.csv."""
        return {**self.record.rows[-1], **self.record.timing.rows[-1]} if self.record.rows else {}

    @property
    def names(self) -> Sequence[str]:
        """Of the values."""
        return self.record.names

    def training_losses(self, after: int) -> list[float]:
        """Those of the rows after this step, each the mean over log_every meta-steps."""
        return [row["train_loss"] for row in self.record.rows if row["step"] > after and "train_loss" in row]

    def train(self, until: int) -> None:
        """Take one meta-step. Record a row at multiples of log_every, and at `until`."""
        self.check()
        started = time.perf_counter()
        self._lr = self.outer.lr
        result = self.gradient(self.params, self.step)
        norms = self.outer.step(result)
        self.step += 1
        self.stepped()
        self._since.append({**result.metrics, **norms})
        row = self.step == min(until, self.limit) or self.step % self.log_every == 0
        if row and self.device != "cpu":  # wait once a row: what was queued on the device is part of its time
            torch.cuda.synchronize(self.device)
        self.trained_seconds += (elapsed := time.perf_counter() - started)
        self._row_seconds += elapsed
        if row:
            self._log()
        if self.progress:
            self.progress.step(self.step)

    def measure(self) -> float:
        """The validation loss that controls go by: 1 - accuracy, or the mean squared error."""
        assert self.validate is not None
        if self.measured == self.step:  # again, after a resumption with other controls
            return self._loss
        score = self.validate(self.params)
        loss = self.objective.as_loss(score.mean)
        # Outputs that are not finite have a score of 0, but a loss that no control may take for a number
        self.measured, self._loss = self.step, loss if math.isfinite(score.loss) else math.nan
        if score.nonfinite:
            warn(f"step {self.step}: {score.nonfinite} of {score.tasks} validation tasks have non-finite outputs")
        values = {f"val_{self.objective.name}": score.mean, "val_ci95": score.ci95, "val_loss": score.loss}
        self.record.log(self.step, values)
        kinds = self.algorithm.kinds_of_layers(self.params)
        self.record.log_layers(self.step, layer_statistics(self.params), score.changes, kinds.__getitem__)
        better = self.best_step < 0 or self.objective.better(score.mean, self.best.mean)
        if better and math.isfinite(self._loss) and not self.invalid:
            self.best, self.best_step = score, self.step
            self.best_params = self._copy()
            self.save(BEST)
        if self.progress and "train_loss" in self.values:
            evaluated(
                self.step,
                self.limit,
                self.values,
                f"{self.objective.name} {self.objective.spell(score.mean, score.ci95)}",
            )
        return self._loss

    def learner(self) -> Any:
        """The present learner, as metalearn.load gives it."""
        return self.make_learner(self._copy())

    def save(self, file: str) -> None:
        """Write `last.pt` (all that a resumed run needs), `best.pt`, or the present learner under another name.

        A full disk does not stop the training: files that could not be written are written at the next occasion. After
        a NaN nothing is written any more, and the last good checkpoint remains.
        """
        if self._since:  # a signal came in the middle of a row
            self._find_invalid(self._stacked())
        if self.invalid and file != BEST:
            return
        folder, writer = self.record.folder / "checkpoints", self.record.writer
        before = folder / BEFORE if file == LAST else None
        writer.write(folder / file, partial(write_atomically, folder / file, self._content(file), before))
        writer.retry()

    # -- its inside -------------------------------------------------------------------------------------------

    @property
    def params(self) -> MetaParameters:
        """The present meta-parameters."""
        return self.outer.params

    def _copy(self) -> MetaParameters:
        return self.params.map(lambda value: value.detach().clone())

    def _content(self, file: str) -> bytes:
        if file == LAST:
            return pack({**self._learner(self.params), "state": self._state()})
        if file == BEST:
            return pack(self._learner(self.best_params) | {"step": self.best_step})
        return pack(self._learner(self.params))

    def _learner(self, params: MetaParameters | None) -> dict[str, Any]:
        assert params is not None
        content = params.map(lambda value: value.detach()).content()
        return {"spec": self.spec, "params": content, "step": self.step}

    def _state(self) -> dict[str, Any]:
        """All of this training that is not a learner."""
        return {
            "optimizer": self.outer.state(),
            "best": {
                "score": asdict(self.best),
                "step": self.best_step,
                "params": self.best_params and self.best_params.content(),
            },
            "measured": self.measured,
            "loss": self._loss,
            "since": self._stacked(),
            "record": self.record.state(),
            "row_seconds": self._row_seconds,
            "lr": self._lr,
            "trained_seconds": self.trained_seconds,
            "seconds": self.seconds,
            "random": _random_state(self.device),
            **{name: value() if callable(value) else value for name, value in self.extra.items()},
        }

    def restore(self, content: Mapping[str, Any]) -> None:
        """Go on from the content of a `last.pt` (on the CPU), to the bit."""
        state = content["state"]
        self.step = content["step"]
        self.outer.restore(MetaParameters.of(content["params"]), state["optimizer"], self.step)
        self.best, self.best_step = Score(**state["best"]["score"]), state["best"]["step"]
        self.measured, self._loss, best = state["measured"], state["loss"], state["best"]["params"]
        self.best_params = None if best is None else MetaParameters.of(best).map(lambda value: value.to(self.device))
        values = {name: value.to(self.device).unbind() for name, value in state["since"].items()}
        count = max(map(len, values.values()), default=0)
        self._since = [{name: value[i] for name, value in values.items()} for i in range(count)]
        self.trained_seconds, self._spent, self._row_seconds = (
            state[name] for name in ("trained_seconds", "seconds", "row_seconds")
        )
        self._session, self._lr = time.monotonic(), state["lr"]
        if self.best_params is not None:
            self.save(BEST)  # it may be of a later step, which is still to come
        _set_random_state(state["random"], self.device)

    def forget_scores(self) -> None:
        """Choose the best learner anew: earlier scores are of other validation tasks."""
        self.best, self.best_step, self.best_params, self.measured = Score(math.nan, 0.0, 0, []), -1, None, -1

    def _log(self) -> None:
        """A row of means since the last one. Reading the values waits for the device, once a row."""
        stacked = self._stacked()
        self._find_invalid(stacked)
        row = {f"train_{n}": v.mean().item() for n, v in stacked.items() if not n.endswith("_norm")}
        row["grad_norm"] = stacked["grad_norm"].mean().item()
        row["lr"] = self._lr
        row[f"{self.algorithm.unit}_per_second"] = len(self._since) * self.algorithm.meta_batch / self._row_seconds
        row["train_seconds"] = self.trained_seconds
        self._since, self._row_seconds = [], 0.0
        self.record.log(self.step, row)
        if self.progress:
            self.progress.values(row)

    def _stacked(self) -> dict[str, Tensor]:
        """The metrics of the steps since the last row, each [steps]."""
        return {name: torch.stack([m[name] for m in self._since]) for name in (self._since[0] if self._since else ())}

    def _find_invalid(self, stacked: Mapping[str, Tensor]) -> None:
        """The first meta-step with a NaN or an infinity, and where it was."""
        if self.invalid:
            return
        first = self.step - len(self._since) + 1
        kinds = {"loss": "the query loss", "grad_norm": "the meta-gradient", "weight_norm": "a weight"}
        bad = {name: (~stacked[name].isfinite()).nonzero().flatten().tolist() for name in kinds}
        found = [(where[0], list(kinds).index(name), name) for name, where in bad.items() if where]
        if found:
            at, _, name = min(found)
            value = stacked[name][at].item()
            self.invalid = f"{kinds[name]} of meta-step {first + at} is {'NaN' if math.isnan(value) else 'infinite'}"

    def close(self) -> None:
        """After the last step: record what is left, measure a learner that was not, and save everything."""
        if self._since:  # a control stopped between two rows
            self._log()
        if self.validate is None and not self.invalid:
            self.best_step = self.step
            self.best_params = self._copy()
            self.save(BEST)
        elif self.measured != self.step and not self.invalid:
            self.measure()
        self.record.finish()
        self.save(LAST)
        if self.best_params is None:
            what = self.invalid or "no measurement gave a number"
            when = "before any measurement: nothing was learned" if self.validate else "in the retraining"
            how = "" if self.validate else ", or go on without it: control.retrain=false allow_changes=true"
            raise UserError(f"{what}, {when}; lower the learning rates (outer.optimizer.lr=, algo.inner_optimizer.lr=) "
                            f"or set outer.clip={how}")  # fmt: skip


def _random_state(device: str) -> dict[str, Tensor]:
    """Of torch's own generators: nothing here draws from them, but an algorithm of somebody's own may."""
    state = {"cpu": torch.get_rng_state()}
    return state | ({} if device == "cpu" else {"cuda": torch.cuda.get_rng_state(device)})


def _set_random_state(state: Mapping[str, Tensor], device: str) -> None:
    torch.set_rng_state(state["cpu"])
    if device != "cpu" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
