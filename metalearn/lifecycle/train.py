"""Train one phase of a run under its controls, from scratch or from a checkpoint."""

from metalearn.algorithms.parameters import MetaParameters
from metalearn.controls.loop import ControlLoop, Paused
from metalearn.learner.learner import Learner
from metalearn.lifecycle import initial_weights
from metalearn.lifecycle.run_folder import OpenedRun, environment
from metalearn.lifecycle.session import Session, stoppable
from metalearn.lifecycle.setup import Phase
from metalearn.recording import checkpoint
from metalearn.recording.checkpoint import LAST
from metalearn.recording.record import Record
from metalearn.runtime.console import say, warn
from metalearn.runtime.device import precision_context
from metalearn.runtime.profiler import Profiler
from metalearn.trackers.base import Trackers
from metalearn.training.checkpoints import Checkpoints
from metalearn.training.evaluate import Score, evaluate
from metalearn.training.result import Checkpoint, RunState, TrainerState, TrainingResult
from metalearn.training.trainer import Trainer


def train(session: Session, phase: Phase, opened: OpenedRun) -> TrainingResult:
    """Train on the training classes and validate; return the result if the checkpoint already holds it."""
    record = Record(
        session.folder, session.setup.trackers, session.setup.objective.name, session.writer, unit=phase.algorithm.unit
    )
    content = opened.checkpoint
    if content is None or content["state"]["first"] is None:
        return _train(session, phase, record, content, None, opened.scores_changed)
    with checkpoint.restoring(session.folder / "checkpoints"):
        first = TrainingResult.restored(content["state"]["first"], session.setup.device)
    record.start(first.tables)
    record.finish()
    return first


def retrain(session: Session, phase: Phase, opened: OpenedRun, first: TrainingResult) -> TrainingResult:
    """Train from scratch on training and validation classes for the best number of meta-steps of the first training."""
    say(f"retraining from scratch on training and validation classes, for {first.best.step} meta-steps")
    record = Record(
        session.folder,
        Trackers({}),
        session.setup.objective.name,
        session.writer,
        "retrain_",
        unit=phase.algorithm.unit,
    )
    if phase.outer.schedule.needs_scores:
        phase.outer.schedule.replay(first.rates)
    content = opened.checkpoint
    own = content if content is not None and content["state"]["first"] is not None else None
    return _train(session, phase, record, own, first)


def _train(
    session: Session,
    phase: Phase,
    record: Record,
    content: Checkpoint | None,
    first: TrainingResult | None,
    scores_changed: bool = False,
) -> TrainingResult:
    """Train a phase.

    Args:
        content: the checkpoint to resume from; None to start from scratch.
        first: in a retraining, the result of the first training.
        scores_changed: the validation scores in the checkpoint are not comparable with later ones.
    """
    setup = session.setup

    def run_state(state: TrainerState) -> RunState:
        return {
            "trainer": state,
            "controls": loop.state(),
            "first": None if first is None else first.state(),
            "environment": environment(setup),
        }

    trainer = Trainer(
        algorithm=phase.algorithm,
        source=phase.source,
        outer=phase.outer,
        executor=phase.executor,
        validate=None if first else lambda params: validate(session, phase, params),
        record=record,
        checkpoints=Checkpoints(session.folder, phase.spec, session.writer),
        run_state=run_state,
        device=setup.device,
        limit=first.best.step if first else setup.settings.steps,
        log_every=setup.settings.log_every,
        before_step=lambda step: _before_step(session, phase, step),
        make_learner=lambda params, step: Learner(phase.algorithm, params, phase.spec, setup.device, step),
        progress=session.progress,
    )
    loop = ControlLoop(trainer, setup.controls(retraining=first is not None))

    def save() -> int:
        trainer.save(LAST)
        trainer.record.flush()
        return trainer.step

    with stoppable(session.folder, save):
        if content is not None:
            _restore(session, trainer, loop, content, scores_changed)
        else:
            if session.initial:
                initial_weights.start(session.initial, phase.outer.params, phase.algorithm)
            record.start()
        steps = trainer.limit - trainer.step
        profiler = Profiler(session.folder, steps) if setup.settings.profile else None
        if profiler:
            trainer.after_step = profiler.step
        with session.progress.training(trainer.limit, trainer.step):
            try:
                stop = loop.run()
            except Paused:
                record.pause()
                raise
        if profiler:
            profiler.close()
        result = trainer.finish(stop)
    say(f"stopped at meta-step {trainer.step} by {stop.control}: {stop.reason}")
    return result


def _restore(session: Session, trainer: Trainer, loop: ControlLoop, content: Checkpoint, scores_changed: bool) -> None:
    with checkpoint.restoring(session.folder / "checkpoints"):
        trainer.restore(content)
        loop.restore(content["state"]["controls"])
    if scores_changed:
        warn("validation scores from here on do not compare with earlier ones: only new ones choose the best learner")
        trainer.forget_scores()
        loop.forget_losses()


def _before_step(session: Session, phase: Phase, step: int) -> None:
    """Stop after a signal; else have the workers compute their share of the meta-step."""
    session.check()
    if session.setup.group:
        session.setup.group.broadcast("gradient", phase.part, step)


def validate(session: Session, phase: Phase, params: MetaParameters) -> Score:
    """Measure meta-parameters on the validation tasks."""
    setup = session.setup
    count = setup.evaluation.tasks
    with (
        session.progress.counting("validation", count, session.check) as watch,
        precision_context(setup.engine.precision, setup.device),
    ):
        return evaluate(
            phase.algorithm,
            params,
            setup.validation,
            tasks=count,
            watch=watch,
            chunks=phase.executor.chunks,
            **setup.tasks,
        )
