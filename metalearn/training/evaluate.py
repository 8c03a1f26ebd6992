"""Measure a learner on fixed tasks: the i-th evaluation task depends only on (seed, i)."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.parameters import Adapted, MetaParameters, require_params
from metalearn.data.base import TaskBatch, TaskSource, require_source
from metalearn.recording.intervals import interval
from metalearn.runtime.errors import UserError
from metalearn.training.chunks import Chunks
from metalearn.training.layers import layer_distances, layer_parts


@dataclass(frozen=True)
class Score:
    """Mean score over tasks, with the half-width of its 95% interval (Student's t). Its repr leaves out the lists."""

    mean: float
    ci95: float
    tasks: int
    curve: list[float] = field(repr=False)  # mean after 0, 1, 2, ... inner steps, if asked for; else after the last
    loss: float = math.nan  # mean query loss
    changes: dict[str, float] = field(default_factory=dict, repr=False)  # RMS by which the inner loop moves each layer
    confused: list[dict[str, Any]] = field(default_factory=list, repr=False)  # see `_most_confused`
    scores: list[float] = field(default_factory=list, repr=False)  # of each task, by task id
    nonfinite: int = 0  # tasks with outputs that are not finite
    curve_ci95: list[float] = field(default_factory=list, repr=False)  # of each entry of `curve`
    support: list[float] = field(default_factory=list, repr=False)  # `scores` with support statistics, if asked for


def evaluate(
    algorithm: Algorithm,
    params: MetaParameters,
    source: TaskSource,
    *,
    tasks: int,
    way: int,
    shot: int,
    query: int,
    device: str,
    curve: bool = False,
    support: bool = False,
    watch: Callable[[int], None] = lambda done: None,
    chunks: Chunks | None = None,
) -> Score:
    """Adapt to `tasks` tasks and score their query sets: accuracy, or mean squared error.

    A task whose outputs are not finite has accuracy 0, and counts as one of `nonfinite`.

    Args:
        algorithm: adapts to the support sets and predicts.
        params: the learned meta-parameters.
        source: of the tasks.
        tasks: how many; always tasks 0 .. tasks-1 of the source, so that two learners are compared on the same.
        way, shot, query: classes in a task, support images a class, query images a class.
        device: of the tasks and of `params`: `cpu`, `cuda` or `cuda:N`.
        curve: score after every inner step as well.
        support: score with batch norm's support statistics as well, as a loaded learner predicts.
        watch: called before each batch of tasks with the number of tasks done; what it raises ends the evaluation.
        chunks: chooses how many tasks are adapted at once; by default a new one.

    Returns:
        The score after the last inner step, with that of each task.

    Raises:
        UserError: the source has no such tasks, or the model no output for each class.
    """
    require_params(params)
    require_source(source)
    if tasks < 1:
        raise UserError(f"tasks={tasks}: must be at least 1")
    source.check(way, shot, query)
    objective, chunks = algorithm.objective, chunks or Chunks(algorithm)
    objective.require_outputs(way, algorithm.head.out_features)
    params = params.map(lambda value: value.detach())
    parts = layer_parts(algorithm, params)
    pieces, losses, others, finite = [], [], [], []  # [T, steps scored], then [T] each
    squares: dict[str, list[Tensor]] = {}  # of each layer, by parameter: [T] squared distances from the start
    # Pairs of classes as numbers a * classes + b: a query image of a was taken for b, or was in a task with b
    wrong, met = [], []
    probe = source.tasks(torch.zeros(1, dtype=torch.int64, device=device), way, shot, query)
    start = 0
    while start < tasks:
        watch(start)
        size = min(chunks.tasks_at_once(probe), tasks - start)
        try:
            batch = source.tasks(torch.arange(start, start + size, device=device), way, shot, query)
            scores, outputs, adapted = _adapt(algorithm, params, batch, curve)
        except torch.OutOfMemoryError:
            scores = []
        if not scores:  # outside the handler, whose traceback holds on to the memory
            chunks.halve(size)
            continue
        start += size
        with torch.no_grad():
            losses.append(objective.loss(outputs, batch.query_y))
            finite.append(outputs.flatten(1).isfinite().all(1))
            if support:
                support_outputs = algorithm.predict(adapted, batch.query_x, "support")
                others.append(objective.score(support_outputs, batch.query_y))
            for name, moved in layer_distances(adapted, params, parts).items():
                squares.setdefault(name, []).append(moved)
            if curve and source.class_names:
                classes = source.classes(torch.arange(start - size, start, device=device), way)  # [T, N]
                own = classes.gather(1, batch.query_y) * len(source.class_names)
                guess = classes.gather(1, outputs.argmax(-1))
                wrong.append((own + guess)[outputs.argmax(-1) != batch.query_y])
                met.append((own[:, :, None] + classes[:, None, :]).flatten())
        pieces.append(torch.stack(scores, 1))
    table = torch.cat(pieces).double()
    intervals = [interval(column, objective.bounded) for column in table.T.tolist()]
    return Score(
        table[:, -1].mean().item(),
        intervals[-1],
        tasks,
        table.mean(0).tolist(),
        torch.cat(losses).double().mean().item(),
        {name: torch.cat(moved).double().mean().sqrt().item() for name, moved in squares.items()},
        _most_confused(torch.cat(wrong), torch.cat(met), source.class_names) if wrong else [],
        table[:, -1].tolist(),
        int((~torch.cat(finite)).sum()),
        intervals,
        torch.cat(others).double().tolist() if support else [],
    )


def _adapt(
    algorithm: Algorithm, params: MetaParameters, batch: TaskBatch, curve: bool
) -> tuple[list[Tensor], Tensor, Adapted]:
    """Score each task [T] after each inner step (or only the last); also outputs and weights after the last."""
    last, scores = algorithm.inner_steps_test, []
    for adapted in algorithm.adapt(params, batch.support_x, batch.support_y):
        if curve or adapted.step == last:
            with torch.no_grad():
                outputs = algorithm.predict(adapted, batch.query_x)
                scores.append(algorithm.objective.score(outputs, batch.query_y))
        if adapted.step == last:
            return scores, outputs, adapted
    raise AssertionError("an inner loop has no end")


def _most_confused(wrong: Tensor, met: Tensor, names: Sequence[str], most: int = 20) -> list[dict[str, Any]]:
    """The pairs of classes that were confused most often: query images of one, taken for the other.

    Returns:
        `class`, `taken_for`, `times`, and `of`: the query images of the class in tasks that had the other as well.
    """
    pairs, times = wrong.unique(return_counts=True)
    known, of = met.unique(return_counts=True)
    of = of[torch.searchsorted(known, pairs)]
    order = (-(times.double() + times / of)).argsort(stable=True)[:most].tolist()
    n = len(names)
    return [
        {"class": names[pairs[i] // n], "taken_for": names[pairs[i] % n], "times": int(times[i]), "of": int(of[i])}
        for i in order
    ]


def tasks_digest(source: TaskSource, *, way: int, shot: int, query: int, device: str, count: int = 8) -> str:
    """SHA-256 (hex) of the first tasks of a source: equal where two learners are tested on the same tasks.

    It is computed from inputs and labels, rounded to 1/1000. Everything that changes the tasks changes it: seed,
    images, split, rotation, way, shot, query.
    """
    digest = hashlib.sha256()
    for part in source.tasks(torch.arange(count, device=device), way, shot, query):
        digest.update(str(tuple(part.shape)).encode())
        digest.update((part.double() * 1000).round().to(torch.int64).cpu().numpy().tobytes())
    return digest.hexdigest()


def nearest_neighbour(
    source: TaskSource,
    *,
    tasks: int,
    way: int,
    shot: int,
    query: int,
    device: str,
    watch: Callable[[int], None] = lambda done: None,
) -> float:
    """Accuracy of the nearest support image in pixel space (Euclidean) on the same tasks: what learning must beat."""
    right: list[Tensor] = []
    for start in range(0, tasks, 50):
        watch(start)
        ids = torch.arange(start, min(start + 50, tasks), device=device)
        batch: TaskBatch = source.tasks(ids, way, shot, query)
        nearest = torch.cdist(batch.query_x.flatten(2), batch.support_x.flatten(2)).argmin(-1)
        right.append((batch.support_y.gather(1, nearest) == batch.query_y).float().mean(1))
    return torch.cat(right).mean().item()
