"""Any module of torch as a model."""

import pytest
import torch
from torch import nn

import metalearn
from metalearn.errors import UserError
from metalearn.models.backbone import Backbone
from tests.helpers.tasks import batch_of


def body():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    )


def test_a_plain_module_is_meta_learned():
    model = Backbone(body(), width=16, outputs=3)
    algo = metalearn.algorithm("maml", model, way=3, shot=2)
    batch = batch_of(dtype=torch.float32)
    params = algo.init()
    gradient = algo.meta_gradient(params, batch).gradients
    assert gradient.keys() == {"body.0.weight", "body.1.weight", "body.1.bias", "head.weight", "head.bias"}
    assert all(g.isfinite().all() for g in gradient.values()) and gradient["body.0.weight"].abs().max() > 0
    (start,) = (adapted for adapted, _ in zip(algo.adapt(params, *batch[:2]), range(1), strict=False))
    assert not algo.predict(start, batch.query_x).any()  # the head is at zero


def test_a_module_without_a_head_is_refused_with_the_way_out():
    with pytest.raises(UserError, match=r"model=Sequential: must be a .*MetaModel; for any other module: .*Backbone"):
        metalearn.algorithm("maml", body(), way=3, shot=2)
