"""The outer optimizer: its schedules, and its memory."""

import math

import pytest
import torch

from metalearn.algorithms.parameters import MetaGradient
from metalearn.training.outer_optimizer import OuterOptimizer
from tests.helpers.tasks import algorithm, batch_of


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 0.75, 0.5, 0.25]),
        ("cosine", [(1 + math.cos(math.pi * s / 4)) / 2 for s in range(4)]),
    ],
)
def test_schedules(schedule, expected):
    algo = algorithm("maml")
    params = algo.init()
    outer = OuterOptimizer(
        optimizer={"name": "SGD", "lr": 0.1}, schedule=schedule, warmup=0, clip=None, params=params, steps=4
    )
    nothing = MetaGradient({n: torch.zeros_like(v) for n, v in params.learned.items()}, {}, [])
    seen = []
    for _ in range(4):
        seen.append(outer.lr / 0.1)
        outer.step(nothing)
    assert seen == pytest.approx(expected)


@pytest.mark.slow
def test_memory_is_flat_over_thousands_of_steps():
    algo = algorithm("maml", filters=2, shape=(1, 4, 4), way=2, shot=1, query=1)
    params = algo.init()
    outer = OuterOptimizer(
        optimizer={"name": "Adam", "lr": 0.003}, schedule="cosine", warmup=0, clip=None, params=params, steps=4000
    )
    batch = batch_of(tasks=1, way=2, shot=1, query=1, shape=(1, 4, 4), dtype=torch.float32)
    resident = []
    for step in range(2100):
        outer.step(algo.meta_gradient(outer.params, batch))
        if step % 700 == 699:
            with open("/proc/self/statm") as file:
                resident.append(int(file.read().split()[1]) * 4096 / 2**20)
    assert resident[-1] - resident[0] < 4, resident  # MB over 1,400 steps
