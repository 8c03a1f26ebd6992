"""One experiment from a resolved configuration: prepare, meta-train under control, test once, record."""

import copy
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from metalearn import controls
from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.objective import objective_for
from metalearn.algorithms.parameters import MetaGradient, MetaParameters
from metalearn.config import trust
from metalearn.config.engine import EngineSettings
from metalearn.config.instantiate import build, call
from metalearn.controls.loop import ControlLoop, Failed
from metalearn.data.base import Dataset, Split, TaskSource
from metalearn.errors import Unfinished, UserError
from metalearn.learner.learner import Learner
from metalearn.learner.spec import algorithm_of, shapes, spec_of
from metalearn.lifecycle import final_test, initial_weights, lock, run_folder
from metalearn.lifecycle.manifest import RunManifest, changes_scores, json_values
from metalearn.lifecycle.resume_command import command
from metalearn.recording import checkpoint, summary
from metalearn.recording.checkpoint import LAST
from metalearn.recording.published import Published
from metalearn.recording.record import Record
from metalearn.recording.result import write_result
from metalearn.recording.writer import RetryingWriter
from metalearn.runtime import distributed, memory
from metalearn.runtime.console import say, warn
from metalearn.runtime.device import keep_freed_memory, precision_context, resolve_device
from metalearn.runtime.profiler import Profiler
from metalearn.runtime.progress import Progress
from metalearn.runtime.signals import Signals, Stopped
from metalearn.trackers.base import Tracker, TrackerRun, Trackers
from metalearn.training.evaluate import Score, evaluate
from metalearn.training.executor import Executor
from metalearn.training.outer_optimizer import OuterOptimizer
from metalearn.training.settings import ControlSettings, EvaluationSettings, RunSettings
from metalearn.training.trainer import Training

GROUPS = ("data", "model", "algo", "engine", "outer", "tracker", "eval", "control", "paper")


def run_experiment(config: Mapping[str, Any], folder: Path, invocation: run_folder.Invocation | None = None,
                   group: distributed.ProcessGroup | None = None) -> float:  # fmt: skip
    """Run it and write its record into `folder`; returns the best validation score (accuracy, or mse).

    Args:
        config: as in conf/, resolved to plain values. With `resume` set, the run in `folder` goes on where it stopped.
        folder: of the run; made where it does not exist.
        group: the processes that share each meta-batch; None for one process.

    Raises:
        UserError: something asked for is impossible; raised before any training.
        Unfinished: a signal or the machine stopped the run; it can be resumed.
    """
    invocation = invocation or run_folder.Invocation()
    with trust.observed():
        return _run(config, folder, invocation, group)


def _run(config: Mapping[str, Any], folder: Path, invocation: run_folder.Invocation,
         group: distributed.ProcessGroup | None) -> float:  # fmt: skip
    experiment = Experiment(config, group)
    if invocation.by_default:
        folder = lock.new_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with lock.hold(folder), Signals() as signals:
        try:
            score = experiment.run(folder, invocation, signals.check)
            if invocation.group is not None:
                signals.check()  # a sweep ends as well, be the signal's own run complete
            return score
        except Stopped as stopped:
            what, status = f"stopped by {stopped}", stopped.status
        except Failed as failed:
            what, status = f"ERROR: {failed}", 1
        except OSError as error:
            if not experiment.began:
                raise
            what, status = f"{error.filename or folder}: {error.strerror or error}", 1
        raise Unfinished(f"{what} at meta-step {experiment.save()}; to resume: {command(folder)}", status)


@dataclass
class Phase:
    """A training from scratch, ready to begin."""

    part: Split
    spec: dict[str, Any]
    algorithm: Algorithm
    source: TaskSource
    outer: OuterOptimizer
    executor: Executor


class Experiment:
    """Everything that a run needs, built and checked; nothing is written before `run`."""

    def __init__(self, config: Mapping[str, Any], group: distributed.ProcessGroup | None = None):
        for name in GROUPS:
            if not isinstance(config.get(name), Mapping):
                raise UserError(f"{name}={config.get(name)}: is a group of settings and is needed; see --help")
        self.config = config
        self.settings = call(RunSettings, {k: v for k, v in config.items() if k not in GROUPS}, "")
        self.measure = call(EvaluationSettings, config["eval"], "eval")
        self.paper = call(Published, config["paper"], "paper")
        self.control = call(ControlSettings, config["control"], "control")
        self.device = distributed.local_device(resolve_device(self.settings.device), group)
        self.engine = call(EngineSettings, config["engine"], "engine")
        self.engine.check(self.device, processes=group.size if group else 1)
        self.group = group
        keep_freed_memory()
        self.trackers = Trackers({n: build(node, f"tracker.{n}", Tracker) for n, node in config["tracker"].items()})
        self.dataset = build(config["data"], "data", Dataset)
        self.phase = self.prepare("train")
        self.initial: initial_weights.Initial | None = None
        if self.settings.init and self.settings.resume is None:  # a resumed run has a copy of them
            self.initial = initial_weights.read(self.settings.init)
            self.initial.fill(self.phase.outer.params, self.phase.algorithm)
        self.validation = self._source("validation")
        self.test = self._source("test") if self.settings.test else None
        for source in filter(None, (self.validation, self.test)):
            source.check(self.settings.way, self.settings.shot, self.measure.query)
        self.objective = objective_for(self.dataset.regression)
        self.progress = Progress()
        self.training: Training | None = None
        unit = self.phase.algorithm.unit
        trial = self._training(
            Record(Path(), Trackers({}), self.objective.name, RetryingWriter(), unit=unit), lambda: None
        )
        for retraining in {False, self.control.retrain}:
            ControlLoop(trial, self._controls(retraining))
        if self.group:
            self._share(self.group)

    def _share(self, group: distributed.ProcessGroup) -> None:
        """Have the other processes prepare the same."""
        tasks = len(self.phase.algorithm.sample(self.phase.source, 0, self.device).support_x)
        if tasks < group.size:
            raise UserError(
                f"{tasks} tasks in a meta-batch cannot be split over {group.size} processes: raise algo.meta_batch=, "
                "or leave torchrun out (algo=pretrain has no tasks to split)"
            )
        if group.rank == 0:
            group.broadcast("begin", json_values(self.config))

    def _source(self, part: Split) -> TaskSource:
        return self.dataset.source(part, self.settings.seed, self.device)

    def prepare(self, part: Split) -> Phase:
        """The algorithm at its beginning, and the classes that it learns from."""
        source = self._source(part)
        spec = spec_of(self.config, self.settings, self.dataset, source.labels)
        count = sum(math.prod(shape) for entries in (shapes(spec) or {}).values() for shape in entries.values())
        memory.require(16 * count, f"model: {count:,} parameters")  # weights, gradients, two moments
        algorithm = algorithm_of(spec)
        algorithm.check(source)
        self._require_memory(algorithm, source)
        params = algorithm.init().map(lambda value: value.to(self.device))
        outer = call(OuterOptimizer, self.config["outer"], "outer", params=params, steps=self.settings.steps)
        executor = Executor(algorithm, self.device, self.group)
        return Phase(part, spec, algorithm, source, outer, executor)

    def _require_memory(self, algorithm: Algorithm, source: TaskSource) -> None:
        """Refuse tasks and meta-batches that memory cannot hold."""
        settings = self.settings
        task = 4 * settings.way * (settings.shot + settings.query) * math.prod(self.dataset.shape)
        memory.require(task, f"way={settings.way} shot={settings.shot} query={settings.query}")
        one = copy.copy(algorithm)
        one.meta_batch = 1
        parts = [part for part in tree_leaves(one.sample(source, 0, self.device)) if isinstance(part, Tensor)]
        batch = algorithm.meta_batch * sum(part.numel() * part.element_size() for part in parts)
        memory.require(batch, f"algo.meta_batch={algorithm.meta_batch}")

    def gradient(self, params: MetaParameters, step: int) -> MetaGradient:
        """The meta-gradient of a meta-step of the present phase, all processes together."""
        phase = self.phase
        if self.group and self.group.rank == 0:
            self.group.broadcast("gradient", phase.part, step)
        return phase.executor(params, phase.algorithm.sample(phase.source, step, self.device))

    def _training(
        self, record: Record, check: Callable[[], None], learned: Mapping[str, Any] | None = None
    ) -> Training:
        """Of the present phase; `learned` is what a first one found, where this is the second."""
        phase = self.phase
        return Training(
            algorithm=self.phase.algorithm,
            outer=self.phase.outer,
            gradient=self.gradient,
            validate=(lambda params: self._evaluate(params, check)) if learned is None else None,
            record=record,
            spec=self.phase.spec,
            device=self.device,
            limit=self.settings.steps if learned is None else learned["best_step"],
            log_every=self.settings.log_every,
            check=check,
            make_learner=lambda params: Learner(phase.algorithm, params, phase.spec, self.device),
            extra={"first": learned, **run_folder.environment(self.device)},
        )

    def _controls(self, retraining: bool) -> dict[str, controls.Control]:
        """Those of the cycle; in a retraining, where the number of steps is known, those that measure nothing."""
        made = controls.make_all(self.control.cycle)
        return {name: control for name, control in made.items() if control.retrains or not retraining}

    def _evaluate(self, params: MetaParameters, check: Callable[[], None]) -> Score:
        count = self.measure.tasks
        with self.progress.counting("validation", count, check) as watch:
            with precision_context(self.engine.precision, self.device):
                return evaluate(self.phase.algorithm, params, self.validation, tasks=count, watch=watch,
                                chunks=self.phase.executor.chunks, **self.tasks)  # fmt: skip

    @property
    def tasks(self) -> dict[str, Any]:
        """What every measured task has in common."""
        settings = self.settings
        return {"way": settings.way, "shot": settings.shot, "query": self.measure.query, "device": self.device}

    @property
    def execution(self) -> dict[str, Any]:
        """What the meta-gradient is computed with, and on how many tasks at once."""
        return self.phase.executor.describe(self.phase.algorithm.sample(self.phase.source, 0, self.device))

    @property
    def began(self) -> bool:
        """Whether there is a training."""
        return self.training is not None

    def save(self) -> int:
        """Write the checkpoint to resume from; return its meta-step."""
        if self.training is None:
            return 0
        if "iteration" in self.training.extra:  # it has trained: it was not made to be tested alone
            self.training.save(LAST)
            self.training.record.flush()
        return self.training.step

    def run(self, folder: Path, invocation: run_folder.Invocation, check: Callable[[], None]) -> float:
        """See run_experiment.

        Args:
            check: called where the run can be stopped; what it raises stops it.
        """
        data = f"{self.dataset.name}, {self.dataset.fingerprint[:16]}"
        config = json_values(self.config)
        now = RunManifest(config, invocation.overrides, data, secrets.token_hex(4), invocation.group)
        begun, content, result, is_new, changed = run_folder.open_run(folder, now, self.device, self._accept)
        if result is not None:
            say(f"{folder}: this run is complete")
            summary.summary(result, folder)
            return float(result[f"val_{self.objective.name}"])
        if self.settings.init:
            self.initial = initial_weights.of_run(folder, self.settings.init, self.initial)
        if is_new:
            invocation.describe(folder)
        if self.dataset.notice:
            warn(self.dataset.notice)
        say(f"{folder}: {headline(self.settings, self.phase.algorithm, self.dataset, self.device)}")
        how = self.execution
        say(f"engine: {how['kernel']}, {how['inner_loop']}, {how['tasks_at_once']} tasks at once"
            + (", inner steps recomputed" if self.phase.algorithm.recomputes else "")
            + (f", over {self.group.size} processes" if self.group else ""))  # fmt: skip
        if self.phase.algorithm.notice:
            warn(self.phase.algorithm.notice)
        tracker, writer = self.trackers, RetryingWriter()
        unit = self.phase.algorithm.unit
        record = Record(folder, tracker, self.objective.name, writer, unit=unit)
        try:
            tracked = TrackerRun(begun.identity, begun.group, resumed=content is not None)
            tracker.start({**self.config, "spec": self.phase.spec}, folder, tracked)
            learned = content["state"]["first"] if content else None
            if learned is None:
                self._learn(record, check, content, fresh_scores=changes_scores(changed))
                learned, content = self._learned(), None
            else:
                record.start(learned["record"])
                record.finish()
                self.training = self._training(record, check)
                self.training.best_params = MetaParameters.of(learned["params"])
                self.training.best_step = learned["best_step"]
            if self.control.retrain:
                say(f"training afresh on training and validation classes, for {learned['best_step']} meta-steps")
                self.phase = self.prepare("train+validation")
                self._learn(
                    Record(folder, Trackers({}), self.objective.name, writer, "retrain_", unit), check, content, learned
                )
            assert self.training is not None
            result = final_test.outcome(self, self.training, learned, check)
            check()
            summary.summary(result, folder)  # shown before it is written: a full disk must not lose it
            made = final_test.pictures(self, self.training, learned, result, folder)
            tracker.finish(result, {name: path for name, path in made.items() if path.suffix == ".png"})
            writer.flush()
            write_result(folder, result)  # last of all: the mark of a run that is complete
        finally:
            tracker.close(complete=(folder / "result.json").exists())
        if self.dataset.notice:
            warn(self.dataset.notice)
        return float(result[f"val_{self.objective.name}"])

    def _accept(self, content: Mapping[str, Any], changed: Sequence[str]) -> None:
        """Raise UserError where a checkpoint cannot be gone on from with these changes."""
        if begun_otherwise := [name for name in changed if name.startswith("init: ")]:
            raise UserError(f"{begun_otherwise[0]}: a run that has begun can no longer start from other weights")
        own = [name for name in changed if not name.startswith("control.retrain: true -> false")]
        if content["state"]["first"] is not None:
            if own:
                raise UserError(f"{own[0]}: in its retraining a run can no longer be changed")
        elif MetaParameters.of(content["params"]).shapes() != self.phase.outer.params.shapes():
            why = changed[0] if changed else "checkpoints"
            raise UserError(f"{why}: the checkpoint's parameters have other names or shapes than this model's")

    def _learn(self, record: Record, check: Callable[[], None], content: Mapping[str, Any] | None,
               learned: Mapping[str, Any] | None = None, fresh_scores: bool = False) -> None:  # fmt: skip
        """Train the present phase under its controls, from the beginning or from a checkpoint.

        Args:
            fresh_scores: the validation scores in the checkpoint do not compare with those to come.
        """
        self.training = training = self._training(record, check, learned)
        iteration = ControlLoop(training, self._controls(retraining=learned is not None))
        training.extra["iteration"] = iteration.state
        if content is not None:
            with checkpoint.restoring(record.folder / "checkpoints"):
                training.restore(content)
                iteration.restore(content["state"]["iteration"])
                record.start(content["state"]["record"])
            if fresh_scores:
                warn("validation scores from here on do not compare with those before: the best is chosen anew")
                training.forget_scores()
                iteration.forget_losses()
        else:
            if self.initial:
                initial_weights.start(self.initial, self.phase.outer.params, self.phase.algorithm)
            record.start()
        profile = Profiler(record.folder, training.limit - training.step) if self.settings.profile else None
        training.stepped = profile.step if profile else training.stepped
        training.progress = self.progress
        with self.progress.training(training.limit, training.step):
            stop = iteration.run()
        if profile:
            profile.close()
        training.extra["stop"] = list(stop)
        training.close()
        say(f"stopped at meta-step {training.step} by {stop.control}: {stop.reason}")

    def _learned(self) -> dict[str, Any]:
        """What a training found, as plain values."""
        training = self.training
        assert training is not None
        return {
            "best": asdict(training.best),
            "best_step": training.best_step,
            "steps": training.step,
            "stop": training.extra["stop"],
            "seconds": training.trained_seconds,
            "record": training.record.state(),
            "params": training.best_params and training.best_params.content(),
        }


def headline(settings: RunSettings, algorithm: Algorithm, dataset: Dataset, device: str) -> str:
    """Describe the run in one line."""
    what = algorithm.objective.task_words(settings.way, settings.shot)
    return (
        f"{type(algorithm).__name__} on {dataset.name} (split: {dataset.split}), {what}, {settings.steps} meta-steps "
        f"of {algorithm.meta_batch} on {device}, {summary.norm_words(algorithm.norm_mode)}, seed {settings.seed}"
    )
