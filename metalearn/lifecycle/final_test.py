"""The final test of a run, the content of result.json, and the pictures."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.objective import Objective
from metalearn.algorithms.parameters import MetaParameters
from metalearn.data.base import TaskSource
from metalearn.learner import training_classes
from metalearn.lifecycle.session import Session
from metalearn.lifecycle.setup import Phase
from metalearn.recording import plots
from metalearn.recording.commit import git_commit
from metalearn.recording.intervals import interval
from metalearn.runtime.console import say, warn
from metalearn.runtime.device import Precision, precision_context
from metalearn.runtime.progress import Progress
from metalearn.training.evaluate import Score, evaluate, nearest_neighbour, tasks_digest
from metalearn.training.result import TrainingResult


def test(session: Session, phase: Phase, first: TrainingResult, last: TrainingResult) -> dict[str, Any]:
    """Test the best learner once, unless `test=false`, and return the content of result.json.

    Args:
        phase: the last training.
        first: the result of the first training, which validated.
        last: the result of the last training; without a retraining, `first`.
    """
    setup = session.setup
    settings, dataset, algorithm, name = setup.settings, setup.dataset, phase.algorithm, setup.objective.name
    trained = (first,) if last is first else (first, last)
    seconds, steps = sum(part.seconds for part in trained), sum(part.steps for part in trained)
    result = {
        "algo": phase.spec["name"],
        "data": dataset.name,
        "data_fingerprint": dataset.fingerprint,
        "split": dataset.split,
        "way": settings.way,
        "shot": settings.shot,
        "query": settings.query,
        "eval_query": setup.evaluation.query,
        "inner_steps_train": algorithm.inner_steps,
        "inner_steps_test": algorithm.inner_steps_test,
        "norm_mode": algorithm.passes.mode,
        "steps": settings.steps,
        "steps_taken": first.steps,
        "best_step": first.best.step,
        "stopped_by": first.stop.control,
        "stop_reason": first.stop.reason,
        "retrained": setup.control.retrain,
        "seed": settings.seed,
        "init": session.initial.source if session.initial else None,
        **phase.execution(setup.device),
        "precision": setup.engine.precision,
        "processes": setup.group.size if setup.group else 1,
        "device": setup.device,
        "device_name": device_name(setup.device),
        "head": algorithm.head.module,
        "params": sum(p.numel() for p in algorithm.model.parameters()),
        f"val_{name}": first.best.score.mean,
        "val_ci95": first.best.score.ci95,
        "val_tasks": first.best.score.tasks,
    }
    if setup.test is not None:
        tasks = setup.evaluation.test_tasks
        say(f"testing the learner of step {last.best.step} on {tasks} tasks")
        seen = training_classes.seen(phase.spec, setup.test)
        result["classes_seen_in_training"] = training_classes.as_entry(seen)
        result |= measured(
            algorithm,
            last.best.params,
            setup.test,
            tasks=tasks,
            progress=session.progress,
            check=session.check,
            precision=setup.engine.precision,
            **setup.tasks,
        )
    return result | {
        **setup.paper.entries(phase.spec["name"], settings.way, settings.shot),
        "train_seconds": round(seconds, 1),
        f"{algorithm.unit}_per_second": round(steps * algorithm.meta_batch / seconds, 1) if seconds else 0.0,
        "torch_version": str(torch.__version__),
        "git_commit": git_commit(),
    }


def measured(
    algorithm: Algorithm,
    params: MetaParameters,
    source: TaskSource,
    *,
    tasks: int,
    progress: Progress,
    check: Callable[[], None],
    precision: Precision,
    device: str,
    **task: int,
) -> dict[str, Any]:
    """Measure a learner on tasks of a source, as entries of result.json.

    Args:
        tasks: how many.
        check: called between batches of tasks; its exceptions end the measurement.
        task: `way`, `shot` and `query`, the query images a class.
    """
    both = algorithm.passes.mode not in ("none", "support")
    sizes: dict[str, Any] = dict(task)
    with precision_context(precision, device), progress.counting("test", tasks, check) as watch:
        score = evaluate(
            algorithm, params, source, tasks=tasks, curve=True, support=both, watch=watch, device=device, **sizes
        )
    if score.nonfinite:
        warn(f"{score.nonfinite} of {tasks} test tasks have non-finite outputs")
    found = score_entries(score, algorithm.objective) | {
        "adaptation_curve": score.curve,
        "adaptation_ci95": score.curve_ci95,
    }
    found["test_digest"] = tasks_digest(source, device=device, **task)
    if source.class_names:
        with progress.counting("nearest neighbour", tasks, check) as watch:
            near = nearest_neighbour(source, tasks=tasks, watch=watch, device=device, **task)
        found |= {"pixel_nearest_neighbour": near, "confused": score.confused}
    return found


def score_entries(score: Score, objective: Objective) -> dict[str, Any]:
    """A test score as entries of result.json, in the mode of training and with support statistics.

    Without batch norm, or trained with support statistics, both are the same.
    """
    support = score.support or score.scores
    return {
        f"test_{objective.name}": score.mean,
        "test_ci95": score.ci95,
        f"test_{objective.name}_support": fmean(support),
        "test_ci95_support": interval(support, bounded=objective.bounded),
        "test_loss": score.loss,
        "test_tasks": score.tasks,
        "test_nonfinite_tasks": score.nonfinite,
        "test_scores": score.scores,
        "test_scores_support": support,
    }


def device_name(device: str) -> str:
    """The device as a table shows it."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread" + "s" * (threads > 1)


def pictures(
    session: Session, phase: Phase, first: TrainingResult, last: TrainingResult, result: Mapping[str, Any]
) -> Iterator[tuple[str, Path]]:
    """Draw what was learned, and yield each picture's name and file; arguments as for `test`."""
    setup = session.setup
    if setup.settings.pictures == "none":
        return
    rows, layers = first.tables["metrics"], first.tables["layers"]
    draw: dict[str, Callable[[Path], Path]] = {
        "curves": lambda path: plots.curves(rows, result, path),
        "layers": lambda path: plots.layers(layers, result, path),
    }
    if (source := setup.test) is not None:
        draw["tasks"] = lambda path: plots.tasks(phase.algorithm, last.best.params, source, result, path, **setup.tasks)
    if any(row["kind"] == "rate" for row in layers):
        draw["rates"] = lambda path: plots.rates(layers, result, path)
    if "confused" in result:
        draw["confusion"] = lambda path: plots.confusion(result, path)
    with session.progress.counting("pictures", len(draw), session.check) as report:
        for number, (name, picture) in enumerate(draw.items()):
            report(number)
            yield name, picture(session.folder / f"{name}.{setup.settings.pictures}")
