"""One experiment from a resolved configuration: prepare, meta-train, test once, record."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from metalearn import checkpoint, report
from metalearn.algorithms.base import Meta, trained
from metalearn.build import build, call
from metalearn.console import say, warn
from metalearn.data import Dataset
from metalearn.device import keep_memory, resolve
from metalearn.errors import Interrupted, UserError
from metalearn.evaluate import Score, evaluate, nearest_neighbour
from metalearn.outer import Outer
from metalearn.record import Record, git_commit
from metalearn.settings import Evaluation, Settings
from metalearn.spec import algorithm_of, spec_of
from metalearn.trackers.base import Tracker
from metalearn.train import Training

GROUPS = ("data", "model", "algo", "outer", "tracker", "eval")


def run_experiment(config: Mapping[str, Any], folder: Path, name: str | None = None) -> float:
    """Run it and write its record into `folder`; returns the best validation score (accuracy, or mse).

    Args:
        config: as in conf/, resolved to plain values.
        folder: of the run; made where it does not exist.
        name: of the algorithm, as in `algo=`.

    Raises:
        UserError: something asked for is impossible; raised before any training.
    """
    for group in GROUPS:
        if not isinstance(config.get(group), Mapping):
            raise UserError(f"{group}={config.get(group)}: is a group of settings and is needed; see --help")
    settings = call(Settings, {k: v for k, v in config.items() if k not in GROUPS}, "")
    measure = call(Evaluation, config["eval"], "eval")
    device = resolve(settings.device)
    keep_memory()
    tracker = build(config["tracker"], "tracker")
    dataset = build(config["data"], "data")
    for thing, where, kind in ((dataset, "data", Dataset), (tracker, "tracker", Tracker)):
        if not isinstance(thing, kind):
            raise UserError(f"{where}._target_={config[where]['_target_']}: does not make a {kind.__name__}")
    sources = {part: dataset.source(part, settings.seed, device) for part in ("train", "validation", "test")}
    spec = spec_of(config, settings, dataset, sources["train"].labels, name)
    algorithm = algorithm_of(spec)
    algorithm.check(sources["train"])
    for part in ("validation", "test"):
        sources[part].check(settings.way, settings.shot, measure.query)
    meta = {name: value.to(device) for name, value in algorithm.init().items()}
    outer = call(Outer, config["outer"], "outer", meta=meta, steps=settings.steps)
    if dataset.notice:
        warn(dataset.notice)
    say(f"{folder}: {report.headline(settings, algorithm, dataset, device)}")

    tasks = {"way": settings.way, "shot": settings.shot, "query": measure.query, "device": device}

    def validate(meta: Meta) -> Score:
        return evaluate(algorithm, meta, sources["validation"], tasks=measure.tasks, **tasks)

    score = "mse" if dataset.regression else "accuracy"
    record = Record(folder, tracker, score)
    training = Training(algorithm, outer, sources["train"], validate, record, spec, device=device,
                        steps=settings.steps, log_every=settings.log_every, eval_every=measure.every)  # fmt: skip
    try:
        tracker.start({**config, "spec": spec}, folder)
        try:
            training.run()
        except KeyboardInterrupt:
            path = training.save("last.pt")
            raise Interrupted(f"stopped at step {training.step}; the learner so far is in {path}") from None
        best = checkpoint.read(folder / "checkpoints" / "best.pt", device)["meta"]
        say(f"testing the learner of step {training.best_step} on {measure.test_tasks} tasks")
        test = evaluate(algorithm, best, sources["test"], tasks=measure.test_tasks, curve=True, **tasks)
        result = {
            "algo": spec["name"],
            "data": dataset.name,
            "split": dataset.split,
            "way": settings.way,
            "shot": settings.shot,
            "query": settings.query,
            "eval_query": measure.query,
            "inner_steps_train": algorithm.inner_steps,
            "inner_steps_test": algorithm.inner_steps_test,
            "norm_mode": settings.norm if algorithm.model.norm_channels() else "none",
            "steps": settings.steps,
            "best_step": training.best_step,
            "seed": settings.seed,
            "device": device,
            "device_name": torch.cuda.get_device_name(device)
            if device != "cpu"
            else f"CPU, {torch.get_num_threads()} threads",
            "params": sum(p.numel() for p in trained(meta).values()),
            f"val_{score}": training.best.mean,
            "val_ci95": training.best.ci95,
            "val_tasks": training.best.tasks,
            f"test_{score}": test.mean,
            "test_ci95": test.ci95,
            "test_tasks": test.tasks,
            "adaptation_curve": test.curve,
        }
        if not dataset.regression:
            result["pixel_nearest_neighbour"] = nearest_neighbour(sources["test"], tasks=measure.test_tasks, **tasks)
        result |= {
            "train_seconds": round(training.seconds, 1),
            "tasks_per_second": round(training.tasks_per_second, 1),
            "torch_version": str(torch.__version__),
            "git_commit": git_commit(),
        }
        record.result(result)
        pictures = {
            "curves": report.curves(record.rows, result, folder / "curves.png"),
            "tasks": report.tasks(algorithm, best, sources["test"], folder / "tasks.png", **tasks),
        }
        tracker.finish(result, pictures)
    finally:
        tracker.close()
    report.summary(result, folder)
    if dataset.notice:
        warn(dataset.notice)
    return training.best.mean
