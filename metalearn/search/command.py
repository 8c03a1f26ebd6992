"""A search from the command line: `python -m metalearn.run -m search=tpe ...`."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from metalearn.config import trust
from metalearn.lifecycle import lock
from metalearn.runtime.console import say, warn
from metalearn.runtime.errors import Unfinished, UserError
from metalearn.runtime.signals import Signals, Stopped
from metalearn.search import study_loop, tracked, workers
from metalearn.search.confirm import FILE as CONFIRMED
from metalearn.search.confirm import confirm, is_of
from metalearn.search.folder import FILE, check_folder, find_study, write_spec
from metalearn.search.grid import size
from metalearn.search.plan import Plan, accept
from metalearn.search.progress import StudyProgress
from metalearn.search.records import IDENTITY
from metalearn.search.report import report
from metalearn.search.results import best
from metalearn.search.samplers import SeededSampler
from metalearn.search.settings import SearchSettings
from metalearn.search.storage import connect, open_record, pruner_of, quiet_optuna
from metalearn.search.study import Study
from metalearn.search.trial import Compose, Trials

if TYPE_CHECKING:
    from metalearn.search.database import Database
    from metalearn.search.on_ray.cluster import Cluster


def search(
    words: Sequence[str],
    config: Mapping[str, Any],
    folder: Path,
    compose: Compose,
    command: Callable[[Path], str],
    begin: Callable[[], None] = lambda: None,
    chosen: bool = True,
) -> None:
    """Run a search to its report.

    Args:
        words: of the command line, without options.
        config: the composed configuration, with the group `search`.
        folder: of the study.
        compose: returns the configuration of some words.
        command: returns the command line that resumes the search in a folder.
        begin: called when the search is accepted.
        chosen: True if the user has chosen the folder. If not, a study in a database has a folder of its name.

    Raises:
        UserError: the search cannot be done as asked.
        SystemExit: a signal or the machine stopped it, or no trial succeeded.
    """
    with quiet_optuna(), trust.observed():
        asked = accept(words, config, compose)
        database = connect(asked.settings)
        cluster = _cluster(asked)
        worker = workers.own_name()
        if database:
            folder = folder if chosen else folder.parent / database.name
            check_folder(folder, _record(asked, folder, database))  # refused before anything is written
        elif config.get("resume") == "auto" and not (folder / FILE).exists():
            folder = find_study(folder.parent, asked.spec) or folder
        resumed = (folder / FILE).exists()
        if resumed and not database and config.get("resume") != "auto":
            raise UserError(f"{folder}: already contains a study: add resume=auto, or choose another folder")
        begin()
        folder.mkdir(parents=True, exist_ok=True)
        with nullcontext() if worker or database else lock.hold(folder), Signals() as signals:
            try:
                _search(asked, folder, compose, resumed, signals, database, cluster)
            except (Stopped, Unfinished) as stopped:
                status = stopped.status
                reason = f"stopped by {stopped}" if isinstance(stopped, Stopped) else stopped.reason
                if not worker:
                    secret = ", with the password in PGPASSWORD or ~/.pgpass" if database and database.password else ""
                    say(f"{folder}: {reason}; finished trials are kept. To resume{secret}: {command(folder)}")
                sys.exit(status)


def _record(asked: Plan, folder: Path, database: "Database | None") -> optuna.Study:
    """Create or load the study of a search."""
    settings = asked.settings
    sampler = SeededSampler(settings.draws_by, asked.space, settings.seed, settings.options, len(asked.goals))
    pruner = pruner_of(settings, asked.setup.settings.steps, asked.setup.evaluation.every)
    return open_record(folder, asked.spec, sampler, pruner, [goal.direction for goal in asked.goals], database)


def _cluster(asked: Plan) -> "Cluster | None":
    """Return the Ray cluster of a search, checked if it runs already; None for the embedded engine."""
    if asked.settings.engine != "ray":
        return None
    from metalearn.search.on_ray.cluster import Cluster  # imports what only Ray needs

    cluster = Cluster.of(asked)
    cluster.check(asked)
    return cluster


def _search(asked: Plan, folder: Path, compose: Compose, resumed: bool, signals: Signals,
            database: "Database | None", cluster: "Cluster | None") -> None:  # fmt: skip
    settings = asked.settings
    if database:
        database.patience.check = signals.check
    record = _record(asked, folder, database)
    write_spec(folder, asked.spec | ({IDENTITY: record.user_attrs[IDENTITY]} if database else {}))
    worker = workers.own_name()
    study = Study(
        record=record,
        space=asked.space,
        goals=asked.goals,
        trials=settings.trials,
        available=size(asked.space) if settings.sampler == "grid" else None,
        competition=asked.competition,
        exclusive=database.exclusive if database else lambda: workers.turn(folder),
        worker=database.worker if database else worker or "0",
        folder=folder.resolve(),
        population=settings.pbt is not None,
    )
    name = database.name if database else folder.resolve().name
    identity = tracked.identity(study, name)
    trials = Trials(folder, compose, asked.fixed, asked.goals, settings.seeds, group=name, identity=identity,
                    like=asked.setup)  # fmt: skip
    if worker:
        _run_trials(study, trials, settings, signals, shared=database is not None)
        return
    study.recover()
    names = ", ".join(parameter.name for parameter in asked.space.hyperparameters)
    what = "resuming the search" if resumed else "searching"
    how = settings.sampler or "population-based training"
    on = " on Ray" if cluster else ""
    say(f"{folder}: {what} by {how}{on}, {settings.trials} trials over {names}")
    for name, condition in asked.space.left_out.items():
        say(f"{name} is not searched: it needs {condition}")
    if database:
        say(f"a worker of study {database.name}, {database.where}: {len(study.finished())} trials are done")
    status, pictures = 0, list[Path]()
    try:
        if cluster:
            from metalearn.search.on_ray import engine

            say(f"the search ended: {engine.run(study, asked, folder, compose, cluster, identity, signals)}")
        elif settings.workers > 1:
            status = _run_workers(settings.workers, study, folder, signals, database)
        else:
            say(f"the search ended: {_run_trials(study, trials, settings, signals, database is not None)}")
    finally:
        if any(study.finished()):
            with database.exclusive("report") if database else nullcontext():
                pictures = report(study, folder, asked.fixed, asked.pictures)
    if status:
        sys.exit(status)
    if not any(trial.values for trial in study.latest().values()):
        warn(f"{folder}: no trial has a score")
        sys.exit(1)
    if len(study.failed()) > settings.failures:
        warn(f"{folder}: too many trials have failed: the search is not done, and nothing is confirmed")
        sys.exit(1)
    if settings.confirm:
        _confirm(asked, study, trials, folder, signals, database)
    tracked.summarize(study, asked.setup, folder, name, pictures)


def _confirm(asked: Plan, study: Study, trials: Trials, folder: Path, signals: Signals,
             database: "Database | None") -> None:  # fmt: skip
    """Confirm the best trials, if there are any and the search has one objective, the validation score."""
    settings, score = asked.settings, f"val_{asked.setup.objective.name}"
    if [goal.name for goal in asked.goals] != [score]:
        say(f"not confirmed: search.confirm compares by {score}, and this search has search.objectives="
            f"[{','.join(goal.name for goal in asked.goals)}]")  # fmt: skip
        return
    if not best(study, 1):
        warn(f"{folder}: no trial trained to its end, so that there is none to confirm")
        return

    def confirmed() -> dict[str, Any]:
        return confirm(study, trials, asked.fixed, folder, settings, asked.setup, signals.check)

    if database:
        database.confirm_once(
            study.record, folder / CONFIRMED, confirmed, lambda result: is_of(result, study, settings)
        )
    else:
        confirmed()


def _run_workers(count: int, study: Study, folder: Path, signals: Signals, database: "Database | None") -> int:
    """Run trials in several processes of this machine; return the highest exit status."""
    if database is None:
        return workers.run_workers(count, study, folder, signals.check)
    from metalearn.search.database import worker_name

    return workers.run_workers(count, study, folder, signals.check, lambda _, process: worker_name(process))


def _run_trials(study: Study, trials: Trials, settings: SearchSettings, signals: Signals, shared: bool) -> str:
    """Run trials in this process until none is left; return why the study ended.

    Args:
        shared: other machines work on the study too. This one then leaves when no trial is running or waiting.
    """
    with StudyProgress(study) as progress:
        stop = study_loop.run(
            study,
            trials,
            criteria=settings.control,
            failures=settings.failures,
            check=signals.check,
            after=progress.update,
        )
        if shared:
            study_loop.finish_begun(study, trials, signals.check, progress.update)
        return stop.reason
