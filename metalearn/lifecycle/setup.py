"""Build and check every part of a run from its configuration, before anything is written."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from metalearn import controls
from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.objective import Objective, objective_for
from metalearn.config.engine import EngineSettings
from metalearn.config.instantiate import build, call, require_target
from metalearn.controls.loop import Control, Plan, check_cycle
from metalearn.data.base import Dataset, Split, TaskSource
from metalearn.learner import training_classes
from metalearn.learner.spec import algorithm_of, shapes, spec_of
from metalearn.lifecycle import initial_weights
from metalearn.lifecycle.initial_weights import Initial
from metalearn.recording.published import Published
from metalearn.recording.record import value_names
from metalearn.runtime import memory
from metalearn.runtime.device import keep_freed_memory, resolve_device
from metalearn.runtime.distributed import ProcessGroup, local_device
from metalearn.runtime.errors import UserError
from metalearn.trackers.base import Tracker, Trackers
from metalearn.training.executor import Executor
from metalearn.training.outer_optimizer import OuterOptimizer
from metalearn.training.settings import ControlSettings, EvaluationSettings, RunSettings

GROUPS = ("data", "model", "algo", "engine", "outer", "tracker", "eval", "control", "paper")


@dataclass(frozen=True)
class Phase:
    """A training from scratch: its source of tasks, and the parts that learn from them.

    Args:
        part: the training classes, `train` or, in a retraining, `train+validation`.
        spec: what a checkpoint says about its learner, see metalearn.learner.spec.
    """

    part: Split
    spec: dict[str, Any]
    algorithm: Algorithm
    source: TaskSource
    outer: OuterOptimizer
    executor: Executor

    def execution(self, device: str) -> dict[str, Any]:
        """Return the kernel, the inner loop and the number of tasks at once, as entries of result.json."""
        return self.executor.describe(self.algorithm.sample(self.source, 0, device))

    def started_from(self, initial: Initial | None) -> "Phase":
        """Add the training classes of initial weights to those in the spec."""
        if initial is None:
            return self
        both = training_classes.joined(training_classes.of_spec(self.spec), initial.classes)
        return replace(self, spec={**self.spec, training_classes.ENTRY: both})


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The parts of a run, built and checked by `prepare`.

    Args:
        config: the whole configuration, plain values.
        paper: a published result to show beside the run's.
        device: the device of this process, `cpu`, `cuda` or `cuda:N`.
        group: the processes that share each meta-batch; None for one process.
        phase: the first training. A retraining is prepared when it begins.
        initial: the weights to start from, `init=`; None to start from the model's own.
        validation: tasks of the validation classes.
        test: tasks of the test classes; None with `test=false`.
        added_controls: controls of a study, applied after the control that measures.
    """

    config: Mapping[str, Any]
    settings: RunSettings
    evaluation: EvaluationSettings
    control: ControlSettings
    paper: Published
    engine: EngineSettings
    device: str
    group: ProcessGroup | None
    trackers: Trackers
    dataset: Dataset
    phase: Phase
    initial: Initial | None
    validation: TaskSource
    test: TaskSource | None
    added_controls: Mapping[str, Control]

    @property
    def objective(self) -> Objective:
        """The objective of every algorithm on this data set."""
        return objective_for(self.dataset.regression)

    @property
    def tasks(self) -> dict[str, Any]:
        """Way, shot, query and device of every measured task."""
        settings = self.settings
        return {"way": settings.way, "shot": settings.shot, "query": self.evaluation.query, "device": self.device}

    def controls(self, retraining: bool) -> dict[str, Control]:
        """Make the controls. A retraining has no validation classes, and only the controls that need none."""
        made = controls.make_all(self.control.cycle)
        if self.added_controls:
            last = max((i for i, control in enumerate(made.values()) if control.measures), default=len(made) - 1)
            items = list(made.items())
            made = dict([*items[: last + 1], *self.added_controls.items(), *items[last + 1 :]])
        return {name: control for name, control in made.items() if control.retrains or not retraining}


def prepare(
    config: Mapping[str, Any],
    group: ProcessGroup | None = None,
    added_controls: Mapping[str, Control] | None = None,
    like: Setup | None = None,
) -> Setup:
    """Build and check the parts of a run. Nothing is written.

    Args:
        config: as metalearn.compose returns it.
        group: the processes that share each meta-batch; None for one process.
        added_controls: controls of a study, applied after the control that measures.
        like: the parts of another run, whose data set is used if the settings of the data are equal.

    Raises:
        UserError: a setting is wrong, or settings do not fit each other, the data or the machine.
    """
    for name in GROUPS:
        if not isinstance(config.get(name), Mapping):
            raise UserError(f"{name}={config.get(name)}: a group of settings is needed here; see --help")
    for name in ("algo", "data", "model"):
        require_target(config[name], name)
    settings: RunSettings = call(RunSettings, {k: v for k, v in config.items() if k not in GROUPS}, "")
    evaluation: EvaluationSettings = call(EvaluationSettings, config["eval"], "eval")
    control: ControlSettings = call(ControlSettings, config["control"], "control")
    paper: Published = call(Published, config["paper"], "paper")
    device = local_device(resolve_device(settings.device), group)
    engine: EngineSettings = call(EngineSettings, config["engine"], "engine")
    engine.check(device, processes=group.size if group else 1)
    keep_freed_memory()
    trackers = Trackers({name: build(node, f"tracker.{name}", Tracker) for name, node in config["tracker"].items()})
    same = like is not None and like.config["data"] == config["data"]
    dataset = like.dataset if like is not None and same else build(config["data"], "data", Dataset)
    phase = _phase(config, settings, dataset, device, group, "train")
    initial: Initial | None = None
    if settings.init and settings.resume is None:  # a resumed run has a copy of these weights
        initial = initial_weights.read(settings.init)
        initial.fill(phase.outer.params, phase.algorithm)
    validation = dataset.source("validation", settings.seed, device)
    test = dataset.source("test", settings.seed, device) if settings.test else None
    for source in filter(None, (validation, test)):
        source.check(settings.way, settings.shot, evaluation.query)
    setup = Setup(
        config=config,
        settings=settings,
        evaluation=evaluation,
        control=control,
        paper=paper,
        engine=engine,
        device=device,
        group=group,
        trackers=trackers,
        dataset=dataset,
        phase=phase,
        initial=initial,
        validation=validation,
        test=test,
        added_controls=added_controls or {},
    )
    if phase.outer.schedule.needs_scores and not any(c.measures for c in setup.controls(retraining=False).values()):
        raise UserError(
            "outer.schedule.name=ReduceLROnPlateau: steps at each measurement, and no control measures: add Evaluate "
            "to control.cycle, or choose another schedule"
        )
    for retraining in {False, control.retrain}:
        check_cycle(Plan(setup.controls(retraining), value_names(setup.objective.name, phase.algorithm.unit)))
    return setup


def prepare_phase(setup: Setup, part: Split) -> Phase:
    """Build and check a training from scratch on other classes, such as `train+validation`."""
    return _phase(setup.config, setup.settings, setup.dataset, setup.device, setup.group, part)


def _phase(
    config: Mapping[str, Any],
    settings: RunSettings,
    dataset: Dataset,
    device: str,
    group: ProcessGroup | None,
    part: Split,
) -> Phase:
    source = dataset.source(part, settings.seed, device)
    spec = spec_of(config, settings, dataset, source)
    count = sum(math.prod(shape) for entries in (shapes(spec) or {}).values() for shape in entries.values())
    memory.require(16 * count, f"model: {count:,} parameters")  # weights, gradients, two moments
    algorithm = algorithm_of(spec)
    algorithm.check(source)
    _check_memory(settings, dataset, algorithm, source, device)
    algorithm.net.check(dataset.shape)
    if group:
        _check_group(group, len(algorithm.sample(source, 0, device).support_x))
    params = algorithm.init().map(lambda value: value.to(device))
    maximize = algorithm.objective.better(1.0, 0.0)
    outer = call(OuterOptimizer, config["outer"], "outer", params=params, steps=settings.steps, maximize=maximize)
    executor = Executor(algorithm, device, group)
    return Phase(part, spec, algorithm, source, outer, executor)


def _check_memory(
    settings: RunSettings, dataset: Dataset, algorithm: Algorithm, source: TaskSource, device: str
) -> None:
    """Refuse tasks and meta-batches that memory cannot hold."""
    task = 4 * settings.way * (settings.shot + settings.query) * math.prod(dataset.shape)
    memory.require(task, f"way={settings.way} shot={settings.shot} query={settings.query}")
    one = copy.copy(algorithm)
    one.meta_batch = 1
    parts = [part for part in tree_leaves(one.sample(source, 0, device)) if isinstance(part, Tensor)]
    batch = algorithm.meta_batch * sum(part.numel() * part.element_size() for part in parts)
    memory.require(batch, f"algo.meta_batch={algorithm.meta_batch}")


def _check_group(group: ProcessGroup, tasks: int) -> None:
    """Refuse a meta-batch that has fewer tasks than the run has processes."""
    if tasks < group.size:
        raise UserError(
            f"{tasks} tasks in a meta-batch cannot be split over {group.size} processes: raise algo.meta_batch=, "
            "or leave torchrun out (algo=pretrain has no tasks to split)"
        )
