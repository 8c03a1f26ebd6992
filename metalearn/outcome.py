"""What a run ends in: one test, all that result.json says, and the pictures."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from metalearn.algorithms.base import RATE, trained
from metalearn.console import say
from metalearn.device import arithmetic
from metalearn.evaluation import Score, evaluate, nearest_neighbour
from metalearn.record import git_commit
from metalearn.recording import plots
from metalearn.train import Training

if TYPE_CHECKING:
    from metalearn.experiment import Experiment


def test(
    experiment: "Experiment", training: Training, learned: Mapping[str, Any], check: Callable[[], None]
) -> dict[str, Any]:
    """Test the learner that was best, or was retrained, once; returns all that result.json says.

    Args:
        training: the last one.
        learned: what the first one found.
        check: called between batches of tasks.
    """
    settings, measure, dataset = experiment.settings, experiment.measure, experiment.dataset
    algorithm, name, retrained = training.algorithm, experiment.score, experiment.control.retrain
    assert training.best_meta is not None
    best = Score(**learned["best"])
    say(f"testing the learner of step {training.best_step} on {measure.test_tasks} tasks")
    common = {"tasks": measure.test_tasks, "between": check, **experiment.tasks}
    with arithmetic(settings.precision, experiment.device):
        test = evaluate(algorithm, training.best_meta, experiment.test, curve=True, **common)
    seconds = learned["seconds"] + (training.trained_seconds if retrained else 0.0)
    steps = learned["steps"] + (training.step if retrained else 0)
    threads = torch.get_num_threads()
    cpu = f"CPU, {threads} thread" + "s" * (threads > 1)
    result = {
        "algo": training.spec["name"],
        "data": dataset.name,
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
        **experiment.engine,
        "precision": settings.precision,
        "processes": experiment.team.size if experiment.team else 1,
        "device": experiment.device,
        "device_name": cpu if experiment.device == "cpu" else torch.cuda.get_device_name(experiment.device),
        "params": sum(p.numel() for p in trained(training.meta).values()),
        f"val_{name}": best.mean,
        "val_ci95": best.ci95,
        "val_tasks": best.tasks,
        f"test_{name}": test.mean,
        "test_ci95": test.ci95,
        "test_tasks": test.tasks,
        "adaptation_curve": test.curve,
    }
    if not dataset.regression:
        result["pixel_nearest_neighbour"] = nearest_neighbour(experiment.test, **common)
        result["confusion"] = test.confusion
    return result | {
        "train_seconds": round(seconds, 1),
        "tasks_per_second": round(steps * algorithm.meta_batch / seconds, 1) if seconds else 0.0,
        "torch_version": str(torch.__version__),
        "git_commit": git_commit(),
    }


def pictures(experiment: "Experiment", training: Training, learned: Mapping[str, Any], result: Mapping[str, Any],
             folder: Path) -> dict[str, Path]:  # fmt: skip
    """What was learned and how, to look at; arguments as for `test`."""
    assert training.best_meta is not None
    made = {
        "curves": plots.curves(learned["record"]["metrics"], result, folder / "curves.png"),
        "layers": plots.layers(learned["record"]["layers"], result, folder / "layers.png"),
        "tasks": plots.tasks(
            training.algorithm, training.best_meta, experiment.test, folder / "tasks.png", **experiment.tasks
        ),
    }
    if any(row["layer"].startswith(RATE) for row in learned["record"]["layers"]):
        made["rates"] = plots.rates(learned["record"]["layers"], result, folder / "rates.png")
    if "confusion" in result:
        made["confusion"] = plots.confusion(result, folder / "confusion.png")
    return made
