"""Measure a learner on fixed tasks: the i-th evaluation task depends on (seed, i) alone."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from metalearn.algorithms.base import Algorithm, Meta
from metalearn.data.tasks import Source, TaskBatch


@dataclass(frozen=True)
class Score:
    """Mean over tasks with its 95% confidence interval (normal approximation, half-width)."""

    mean: float
    ci95: float
    tasks: int
    curve: list[float]  # the mean after 0, 1, 2, ... inner steps, where asked for; else after the last alone


def evaluate(algorithm: Algorithm, meta: Meta, source: Source, *, tasks: int, way: int, shot: int, query: int,
             device: str, curve: bool = False) -> Score:  # fmt: skip
    """Adapt to `tasks` tasks and score their query sets: accuracy, or mean squared error.

    Args:
        tasks: how many; always tasks 0 .. tasks-1 of the source, so that two learners are compared on the same.
        curve: score after every inner step as well.
    """
    meta = {name: value.detach() for name, value in meta.items()}
    last = algorithm.inner_steps_test
    pieces = []  # [T, steps scored]
    probe = source.tasks(torch.zeros(1, dtype=torch.int64, device=device), way, shot, query)
    size = algorithm.tasks_at_once(probe.support_x, probe.query_x)
    for start in range(0, tasks, size):
        batch = source.tasks(torch.arange(start, min(start + size, tasks), device=device), way, shot, query)
        scores = []
        for step, adapted in enumerate(algorithm.adapt(meta, batch.support_x, batch.support_y)):
            if curve or step == last:
                with torch.no_grad():
                    scores.append(algorithm.scores(algorithm.predict(adapted, batch.query_x), batch.query_y))
            if step == last:
                break
        pieces.append(torch.stack(scores, 1))
    table = torch.cat(pieces).double()
    spread = table[:, -1].std().item() if tasks > 1 else math.nan
    return Score(table[:, -1].mean().item(), 1.96 * spread / math.sqrt(tasks), tasks, table.mean(0).tolist())


def nearest_neighbour(source: Source, *, tasks: int, way: int, shot: int, query: int, device: str) -> float:
    """Accuracy of the nearest support image in pixel space (Euclidean) on the same tasks: what learning must beat."""
    right: list[Tensor] = []
    for start in range(0, tasks, 50):
        ids = torch.arange(start, min(start + 50, tasks), device=device)
        batch: TaskBatch = source.tasks(ids, way, shot, query)
        nearest = torch.cdist(batch.query_x.flatten(2), batch.support_x.flatten(2)).argmin(-1)
        right.append((batch.support_y.gather(1, nearest) == batch.query_y).float().mean(1))
    return torch.cat(right).mean().item()
