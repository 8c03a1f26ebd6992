"""Tasks at once: fewer where memory is short, and with the same result."""

import pytest
import torch

from metalearn.runtime.errors import UserError
from metalearn.training.chunks import Chunks
from metalearn.training.evaluate import evaluate
from metalearn.training.executor import Executor
from tests.helpers.tasks import algorithm, batch_of, close, params_of


def test_too_many_tasks_at_once_are_halved_and_said(monkeypatch, capsys):
    algo, whole, batch = algorithm("maml", chunk=8), algorithm("maml"), batch_of(tasks=7)
    inner, sizes = algo.task_gradients, []

    def small(params, piece):
        sizes.append(len(piece.support_x))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(params, piece)

    monkeypatch.setattr(algo, "task_gradients", small)
    params, executor = params_of(algo), Executor(algo, "cpu")
    close(executor(params, batch).gradients, whole.meta_gradient(params, batch).gradients)
    assert sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1] and executor.chunks.size == 1
    assert "out of memory with 7 tasks at once; from now on 3" in capsys.readouterr().out
    monkeypatch.setattr(algo, "task_gradients", lambda params, piece: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with pytest.raises(UserError, match="one task alone"):
        executor(params, batch)


def test_an_evaluation_too_large_is_halved_and_scores_the_same(monkeypatch, small_glyphs):
    source = small_glyphs.source("test", 0, "cpu")
    algo, whole = (algorithm("maml", shape=(1, 28, 28), way=5, shot=1, chunk=8) for _ in range(2))
    inner = algo.adapt

    def small(params, x, y, training=False):
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(params, x, y, training)

    monkeypatch.setattr(algo, "adapt", small)
    params, common = algo.init(), {"tasks": 9, "way": 5, "shot": 1, "query": 2, "device": "cpu", "curve": True}
    chunks = Chunks(algo)
    a = evaluate(algo, params, source, chunks=chunks, **common)
    b = evaluate(whole, params, source, **common)
    assert (a.curve, a.confused, chunks.size) == (b.curve, b.confused, 2)


@pytest.mark.parametrize(
    ("shape", "query", "at_once"), [((1, 28, 28), 1, 267), ((3, 84, 84), 1, 9), ((3, 84, 84), 15, 1)]
)
def test_fewer_tasks_of_more_and_larger_images_are_computed_at_once(shape, query, at_once):
    algo = algorithm("maml", shape=shape, way=5, shot=1, query=query)
    batch = batch_of(tasks=1, way=5, shot=1, query=query, shape=shape, dtype=torch.float32)
    assert Chunks(algo).tasks_at_once(batch) == at_once


def test_fewer_tasks_of_a_large_network_are_computed_at_once_on_the_cpu(monkeypatch):
    """Each task has weights of its own: those of a large network fill the memory."""
    algo = algorithm("maml", filters=64, shape=(1, 28, 28), way=5, shot=1, query=1)
    batch = batch_of(tasks=1, way=5, shot=1, query=1, shape=(1, 28, 28), dtype=torch.float32)
    assert algo.net.parameter_count == sum(value.numel() for value in algo.init().model.values())
    for at_once, room in ((267, 300), (20, 20), (1, 0.5)):
        monkeypatch.setattr("metalearn.training.chunks.OWN_WEIGHTS", int(room * algo.net.parameter_count))
        assert Chunks(algo).tasks_at_once(batch) == at_once
