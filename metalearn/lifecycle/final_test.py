"""The end of a run: its final test, the content of result.json, and its pictures."""

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.objective import Objective
from metalearn.algorithms.parameters import MetaParameters
from metalearn.data.base import TaskSource
from metalearn.recording import plots
from metalearn.recording.commit import git_commit
from metalearn.recording.intervals import interval
from metalearn.runtime.console import say, warn
from metalearn.runtime.device import Precision, precision_context
from metalearn.runtime.progress import Progress
from metalearn.training.evaluate import Score, evaluate, nearest_neighbour, tasks_digest
from metalearn.training.trainer import Training

if TYPE_CHECKING:
    from metalearn.lifecycle.run import Experiment


def outcome(experiment: "Experiment", training: Training, learned: Mapping[str, Any],
            check: Callable[[], None]) -> dict[str, Any]:  # fmt: skip
    """Test the best learner once, unless `test=false`, and collect the content of result.json.

    Args:
        training: the last one.
        learned: the findings of the first one.
        check: called between batches of tasks.
    """
    settings, measure, dataset = experiment.settings, experiment.measure, experiment.dataset
    algorithm, name, retrained = training.algorithm, experiment.objective.name, experiment.control.retrain
    best = Score(**learned["best"])
    seconds = learned["seconds"] + (training.trained_seconds if retrained else 0.0)
    steps = learned["steps"] + (training.step if retrained else 0)
    result = {
        "algo": training.spec["name"],
        "data": dataset.name,
        "data_fingerprint": dataset.fingerprint,
        "split": dataset.split,
        "way": settings.way,
        "shot": settings.shot,
        "query": settings.query,
        "eval_query": measure.query,
        "inner_steps_train": algorithm.inner_steps,
        "inner_steps_test": algorithm.inner_steps_test,
        "norm_mode": algorithm.norm_mode,
        "steps": settings.steps,
        "steps_taken": learned["steps"],
        "best_step": learned["best_step"],
        "stopped_by": learned["stop"][0],
        "stop_reason": learned["stop"][1],
        "retrained": retrained,
        "seed": settings.seed,
        "init": experiment.initial.source if experiment.initial else None,
        **experiment.execution,
        "precision": experiment.engine.precision,
        "processes": experiment.group.size if experiment.group else 1,
        "device": experiment.device,
        "device_name": device_name(experiment.device),
        "params": sum(p.numel() for p in algorithm.model.parameters()),
        f"val_{name}": best.mean,
        "val_ci95": best.ci95,
        "val_tasks": best.tasks,
    }
    if settings.test:
        result |= _tested(experiment, training, check)
    return result | {
        **experiment.paper.entries(settings.way, settings.shot),
        "train_seconds": round(seconds, 1),
        f"{algorithm.unit}_per_second": round(steps * algorithm.meta_batch / seconds, 1) if seconds else 0.0,
        "torch_version": str(torch.__version__),
        "git_commit": git_commit(),
    }


def _tested(experiment: "Experiment", training: Training, check: Callable[[], None]) -> dict[str, Any]:
    """Test the best learner, in the batch-norm mode of training and with support statistics."""
    tasks, source = experiment.measure.test_tasks, experiment.test
    assert training.best_params is not None and source is not None
    say(f"testing the learner of step {training.best_step} on {tasks} tasks")
    return measured(training.algorithm, training.best_params, source, tasks=tasks, progress=experiment.progress,
                    check=check, precision=experiment.engine.precision, **experiment.tasks)  # fmt: skip


def measured(algorithm: Algorithm, params: MetaParameters, source: TaskSource, *, tasks: int, progress: Progress,
             check: Callable[[], None], precision: Precision, device: str, **task: int) -> dict[str, Any]:  # fmt: skip
    """Measure a learner on tasks of a source, as entries of result.json.

    Args:
        tasks: how many.
        check: called between batches of tasks; what it raises ends the measurement.
        task: `way`, `shot` and `query`, the query images a class.
    """
    both = algorithm.norm_mode not in ("none", "support")
    sizes: dict[str, Any] = dict(task)
    with precision_context(precision, device), progress.counting("test", tasks, check) as watch:
        score = evaluate(algorithm, params, source, tasks=tasks, curve=True, support=both, watch=watch, device=device,
                         **sizes)  # fmt: skip
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


def pictures(experiment: "Experiment", training: Training, learned: Mapping[str, Any], result: Mapping[str, Any],
             folder: Path) -> dict[str, Path]:  # fmt: skip
    """Draw what was learned; arguments as for `outcome`."""
    assert training.best_params is not None
    rows, layers = learned["record"]["metrics"], learned["record"]["layers"]
    draw: dict[str, Callable[[Path], Path]] = {
        "curves": lambda path: plots.curves(rows, result, path),
        "layers": lambda path: plots.layers(layers, result, path),
    }
    if experiment.test is not None:
        algorithm, params, source = training.algorithm, training.best_params, experiment.test
        draw["tasks"] = lambda path: plots.tasks(algorithm, params, source, path, **experiment.tasks)
    if any(row["kind"] == "rate" for row in layers):
        draw["rates"] = lambda path: plots.rates(layers, result, path)
    if "confused" in result:
        draw["confusion"] = lambda path: plots.confusion(result, path)
    with experiment.progress.counting("pictures", len(draw)) as report:
        made: dict[str, Path] = {}
        for name, picture in draw.items():
            report(len(made))
            made[name] = picture(folder / f"{name}.{experiment.settings.pictures}")
    return made
