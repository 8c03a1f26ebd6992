"""The grouped kernels are exact at the smallest sizes: one filter, one channel, one shot, one task."""

import itertools

import pytest
import torch

from tests.helpers.configs import every, inner_steps, of_each_kind
from tests.helpers.tasks import algorithm, batch_for, params_of

SIZES = list(itertools.product((1, 2), (1, 3), (1, 2), ("transductive", "support", "per_step")))


@pytest.mark.slow
@pytest.mark.parametrize("name", every(4, of_each_kind()))
def test_grouped_equals_vmap_at_the_smallest_sizes(name):
    for filters, channels, tasks, norm in SIZES:
        shape = (channels, 16, 16)
        both = [
            algorithm(name, kernel=engine, filters=filters, shape=shape, norm=norm, inner_steps=inner_steps(name, 2))
            for engine in ("grouped", "vmap")
        ]
        params = params_of(both[0])
        batch = batch_for(name, tasks=tasks, shape=shape)
        a, b = (algo.meta_gradient(params, batch).gradients for algo in both)
        for key, gradient in b.items():
            where = f"{key}: {filters} filters, {channels} channels, {tasks} tasks, {norm}"
            torch.testing.assert_close(a[key], gradient, rtol=1e-6, atol=1e-9, msg=where)
