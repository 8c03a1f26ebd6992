"""Numerical precision on a device."""

import pytest
import torch

from metalearn.runtime import distributed
from metalearn.runtime.device import precision_context
from tests.helpers.tasks import algorithm, batch_of


@pytest.mark.parametrize("norm", ["transductive", "support", "per_step"])
def test_bfloat16_points_the_same_way(norm):
    batch = batch_of(dtype=torch.float32)
    algo = algorithm("maml", norm=norm)
    params = algo.init()
    exact = algo.meta_gradient(params, batch).gradients
    with precision_context("bf16", "cpu"):
        rough = algo.meta_gradient(params, batch).gradients
    a, b = (torch.cat([g.flatten().float() for g in gs.values()]) for gs in (exact, rough))
    assert not torch.equal(a, b) and torch.cosine_similarity(a, b, 0) > 0.98


def test_the_current_device_of_cuda_is_kept_where_none_is_named(monkeypatch):
    made = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: made.append(torch.device(device).index))
    assert distributed.local_device("cuda") == "cuda" and made == []
    assert distributed.local_device("cuda:1") == "cuda:1" and made == [1]
