"""The outer optimizer: its memory. Its schedules have a file of their own."""

import pytest
import torch

from metalearn.training.outer_optimizer import OuterOptimizer
from tests.helpers.tasks import algorithm, batch_of


@pytest.mark.slow
def test_memory_is_flat_over_a_thousand_steps():
    algo = algorithm("maml", filters=2, shape=(1, 4, 4), way=2, shot=1, query=1)
    params = algo.init()
    outer = OuterOptimizer(
        optimizer={"name": "Adam", "lr": 0.003}, schedule="cosine", warmup=0, clip=None, params=params, steps=2000
    )
    batch = batch_of(tasks=1, way=2, shot=1, query=1, shape=(1, 4, 4), dtype=torch.float32)
    resident = []
    for step in range(1200):
        outer.step(algo.meta_gradient(outer.params, batch))
        if step % 400 == 399:
            with open("/proc/self/statm") as file:
                resident.append(int(file.read().split()[1]) * 4096 / 2**20)
    assert resident[-1] - resident[0] < 2, resident  # MB over 800 steps
