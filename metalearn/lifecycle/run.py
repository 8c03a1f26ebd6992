"""A run in five steps: open its folder, train, retrain, test, record."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metalearn.config.quoting import shell_quoted
from metalearn.controls.loop import Paused
from metalearn.learner import training_classes
from metalearn.lifecycle import final_test, initial_weights, lock
from metalearn.lifecycle.manifest import RunManifest, json_values
from metalearn.lifecycle.meaning import meaning
from metalearn.lifecycle.run_folder import Invocation, OpenedRun, open_run, unused_removed
from metalearn.lifecycle.session import Session, stoppable
from metalearn.lifecycle.setup import Phase, Setup, prepare_phase
from metalearn.lifecycle.train import retrain, train
from metalearn.recording import summary
from metalearn.recording.job import JobRecord, forget_pause, write_job
from metalearn.recording.result import write_result
from metalearn.recording.writer import RetryingWriter
from metalearn.runtime import console
from metalearn.runtime.console import say, warn
from metalearn.runtime.progress import Progress
from metalearn.runtime.signals import Signals, Stopped
from metalearn.trackers.base import TrackerRun
from metalearn.training.result import TrainingResult


@dataclass(frozen=True)
class FinishedRun:
    """A complete run.

    Args:
        folder: of the run, with its record and its checkpoints.
        result: the content of result.json.
        score: the best validation score, an accuracy or a mean squared error.
    """

    folder: Path
    result: dict[str, Any]
    score: float


def run(setup: Setup, folder: Path, invocation: Invocation | None = None) -> FinishedRun:
    """Train, test and write the record of a run, or resume the run in the folder.

    Args:
        setup: the parts of the run. Use each setup for one run only, because training changes its parts.
        folder: of the run; created if it does not exist.
        invocation: facts that only the command line knows.

    Raises:
        UserError: the folder has another run, or nothing to resume, or training diverged.
        Unfinished: a signal or the machine stopped the run. It can be resumed.
    """
    invocation = invocation or Invocation()
    if setup.group:
        setup.group.broadcast("prepare", json_values(setup.config))
    if invocation.by_default:
        folder = lock.new_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with unused_removed(folder, invocation), lock.hold(folder), Signals() as signals:
        opened = open_run(setup, folder, _manifest(setup, invocation))
        result = opened.result
        if result is None:
            with console.copied(folder / "log.txt"):
                result = _run(setup, folder, opened, invocation, signals.check)
        else:
            say(f"{folder}: this run is complete")
            summary.summary(result, folder)
        if invocation.group is not None:  # a signal during the last steps stops the sweep
            with stoppable(folder, lambda: int(result["steps_taken"])):
                signals.check()
        elif signals.asked:
            warn("the run was complete before the signal could stop it")
    return FinishedRun(folder, result, float(result[f"val_{setup.objective.name}"]))


def _run(
    setup: Setup, folder: Path, opened: OpenedRun, invocation: Invocation, check: Callable[[], None]
) -> dict[str, Any]:
    """Run an opened run to its end; return the content of result.json."""
    session = _session(setup, folder, opened, invocation, check)
    forget_pause(folder)
    resumed, paused = opened.checkpoint is not None, False
    name, group = invocation.identity or opened.manifest.identity, invocation.group or opened.manifest.group
    try:
        role = invocation.role or opened.manifest.role
        tracked = TrackerRun(name, group, resumed, role and role.partition(" ")[0])
        phase = setup.phase.started_from(session.initial)
        shown = {name: value for name, value in phase.spec.items() if name != training_classes.ENTRY}
        setup.trackers.start({**setup.config, "spec": shown}, folder, tracked)
        _warn_of_seen_classes(session, phase)
        first = last = train(session, phase, opened)
        if setup.control.retrain:
            phase = prepare_phase(setup, "train+validation").started_from(session.initial)
            last = retrain(session, phase, opened, first)
        with stoppable(folder, lambda: last.steps):
            result = final_test.test(session, phase, first, last)
            record(session, phase, first, last, result)
    except Paused as reason:
        paused = True
        write_job(folder, JobRecord(group or "", 0, invocation.overrides or [], why=str(reason)))
        raise
    finally:
        setup.trackers.close(complete=paused or (folder / "result.json").exists())
    if setup.dataset.notice:
        warn(setup.dataset.notice)
    return result


def record(session: Session, phase: Phase, first: TrainingResult, last: TrainingResult, result: dict[str, Any]) -> None:
    """Show the result and write result.json, which marks the run as complete; then draw the pictures."""
    session.check()
    summary.summary(result, session.folder)  # before anything is written: a full disk must not lose it
    session.writer.flush()
    write_result(session.folder, result)
    pictures: dict[str, Path] = {}
    try:
        for name, path in final_test.pictures(session, phase, first, last, result):
            pictures[name] = path
    except (OSError, Stopped) as error:  # they can be drawn again, and the result is safe
        why = error.strerror if isinstance(error, OSError) else f"stopped by {error}"
        warn(f"not all pictures are drawn ({why}): python -m metalearn.plot {shell_quoted(session.folder)}")
    session.setup.trackers.finish(result, {n: path for n, path in pictures.items() if path.suffix == ".png"})


def _session(
    setup: Setup, folder: Path, opened: OpenedRun, invocation: Invocation, check: Callable[[], None]
) -> Session:
    """Write what describes the run, and say what begins."""
    initial = setup.initial
    if setup.settings.init:
        initial = initial_weights.of_run(folder, setup.settings.init, initial)
    if opened.is_new or opened.changed:
        invocation.describe(folder)
    if setup.dataset.notice:
        warn(setup.dataset.notice)
    say(f"{folder}: {headline(setup)}")
    _say_engine(setup)
    return Session(setup, folder, initial, check, RetryingWriter(), Progress())


def _warn_of_seen_classes(session: Session, phase: Phase) -> None:
    """Warn if classes to validate or test on were in a training: this one, or that of the initial weights."""
    for part, source in (("validation", session.setup.validation), ("test", session.setup.test)):
        count = 0 if source is None else training_classes.seen(phase.spec, source)
        message = training_classes.warning(count, f"{part} classes")
        if message and (count or session.initial):  # a data set may name no classes; its split is its own business
            warn(message)


def _manifest(setup: Setup, invocation: Invocation) -> RunManifest:
    """Return the manifest of the present command."""
    data = f"{setup.dataset.name}, {setup.dataset.fingerprint[:16]}"
    identity, config = invocation.identity or secrets.token_hex(4), json_values(setup.config)
    return RunManifest(config, invocation.overrides, data, identity, invocation.group, meaning(setup), invocation.role)


def headline(setup: Setup) -> str:
    """Describe the run in one line."""
    settings, dataset, algorithm = setup.settings, setup.dataset, setup.phase.algorithm
    task, norm = setup.objective.task_words(settings.way, settings.shot), summary.norm_words(algorithm.passes.mode)
    model = str(setup.config["model"]["_target_"]).rpartition(".")[2]
    return (
        f"{type(algorithm).__name__} with {model} on {dataset.name} (split: {dataset.split}), "
        f"{task}, {settings.steps} meta-steps of {algorithm.meta_batch} on {setup.device}, {norm}, seed {settings.seed}"
    )


def _say_engine(setup: Setup) -> None:
    """Say how the meta-gradient is computed."""
    algorithm, how = setup.phase.algorithm, setup.phase.execution(setup.device)
    recomputed = ", inner steps recomputed" if algorithm.recomputes else ""
    processes = f", over {setup.group.size} processes" if setup.group else ""
    say(f"head: {algorithm.head}")
    say(f"engine: {how['kernel']}, {how['inner_loop']}, {how['tasks_at_once']} tasks at once{recomputed}{processes}")
    if algorithm.notice:
        warn(algorithm.notice)
