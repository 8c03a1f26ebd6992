"""Prototypical networks: training tasks with other numbers of classes than test tasks."""

import pytest

from metalearn.runtime.errors import UserError
from metalearn.training.evaluate import evaluate
from tests.helpers.tasks import algorithm, close

TASKS = {"shape": (1, 28, 28), "shot": 1, "query": 2}


def test_training_tasks_may_have_more_classes_than_test_tasks(small_glyphs):
    source = small_glyphs.source("train", 0, "cpu")
    wide, plain = algorithm("protonet", way=3, train_way=7, **TASKS), algorithm("protonet", way=7, **TASKS)
    params = wide.init()
    batch = wide.sample(source, 0, "cpu")
    assert batch.support_y.tolist() == plain.sample(source, 0, "cpu").support_y.tolist()
    assert sorted(set(batch.support_y[0].tolist())) == list(range(7))
    body = lambda found: {name: value for name, value in found.gradients.items() if not name.startswith("head.")}
    close(body(wide.meta_gradient(params, batch)), body(plain.meta_gradient(plain.init(), batch)))
    score = evaluate(wide, params, source, tasks=4, way=3, shot=1, query=2, device="cpu")
    assert 0 <= score.mean <= 1 and score.nonfinite == 0


def test_more_classes_than_there_are_for_training(small_glyphs):
    wide = algorithm("protonet", way=3, train_way=1000, **TASKS)
    with pytest.raises(UserError, match=r"algo\.train_way=1000: way=1000: .* or lower algo\.train_way="):
        wide.check(small_glyphs.source("train", 0, "cpu"))
    with pytest.raises(UserError, match=r"algo\.train_way=1: must be at least 2"):
        algorithm("protonet", way=3, train_way=1)
