"""The three batch-norm modes do what their names say."""

import pytest
import torch

from metalearn.algorithms.parameters import nth
from metalearn.models.norm import MOMENTUM, BatchNorm, NormContext, using_context
from tests.helpers.configs import ALGORITHMS, inner_steps
from tests.helpers.tasks import algorithm, batch_for, batch_of, params_of


def outputs(algo, params, batch, query=None, steps=2):
    adapted = nth(algo.adapt(params, batch.support_x, batch.support_y), steps)
    return algo.predict(adapted, batch.query_x if query is None else query)


def changed_neighbour(batch):
    """The same queries, but the last one is another image."""
    query = batch.query_x.clone()
    query[:, -1] = torch.rand(query[:, -1].shape, generator=torch.Generator().manual_seed(9), dtype=query.dtype)
    return query


@pytest.mark.parametrize("name", ALGORITHMS)
def test_transductive_predictions_depend_on_their_neighbours(name):
    algo, batch = algorithm(name), batch_of()
    params = params_of(algo)
    a, b = outputs(algo, params, batch), outputs(algo, params, batch, changed_neighbour(batch))
    assert (a[:, 0] - b[:, 0]).abs().max() > 1e-6


@pytest.mark.parametrize("norm", ["support", "per_step"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_other_modes_classify_each_image_alone(name, norm):
    algo, batch = algorithm(name, norm=norm), batch_of()
    params = params_of(algo)
    together = outputs(algo, params, batch)
    alone = torch.cat([outputs(algo, params, batch, batch.query_x[:, i : i + 1]) for i in range(together.shape[1])], 1)
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(together[:, :-1], outputs(algo, params, batch, changed_neighbour(batch))[:, :-1])


@pytest.mark.parametrize("norm", ["transductive", "support", "per_step"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_task_leaks_into_another(name, norm):
    algo, batch = algorithm(name, norm=norm), batch_of(tasks=4)
    params = params_of(algo)
    single = [outputs(algo, params, type(batch)(*(f[t : t + 1] for f in batch))) for t in range(4)]
    torch.testing.assert_close(outputs(algo, params, batch), torch.cat(single))


def test_support_mode_uses_the_statistics_of_the_support_set():
    layer = BatchNorm(3).double()
    x = torch.rand(8, 3, 4, 4, dtype=torch.float64)
    with using_context(NormContext(reference=5)):
        y = layer(x)
    support = torch.nn.functional.batch_norm(x[:5], None, None, training=True, eps=layer.eps)
    torch.testing.assert_close(y[:5], support)
    mean, variance = x[:5].mean((0, 2, 3)), x[:5].var((0, 2, 3), correction=0)
    torch.testing.assert_close(y[5:], (x[5:] - mean[:, None, None]) / (variance + layer.eps).sqrt()[:, None, None])


def test_per_step_keeps_running_statistics_of_every_inner_step():
    algo, batch = algorithm("maml", norm="per_step", inner_steps=2), batch_of(tasks=3)
    params = params_of(algo)
    assert params.statistics[0].shape == (3, 2, 4)  # steps 0 and 1 on the support set, 2 on the query set
    after = algo.meta_gradient(params, batch).statistics
    x = torch.nn.functional.conv2d(
        batch.support_x.flatten(0, 1), params.model["convs.0.weight"], stride=2, padding=1
    ).unflatten(0, (3, -1))
    seen = torch.stack([x.mean((1, 3, 4)), x.var((1, 3, 4), correction=0)], 1).mean(0)  # mean over the tasks
    torch.testing.assert_close(after[0][0], params.statistics[0][0] * (1 - MOMENTUM) + MOMENTUM * seen)
    differs = [(after[0][i] - after[0][j]).abs().max() > 1e-5 for i, j in ((0, 1), (1, 2))]
    assert all(differs)


def test_per_step_statistics_are_those_of_the_step():
    algo, batch = algorithm("maml", norm="per_step", inner_steps=2), batch_of()
    params = params_of(algo)
    base = outputs(algo, params, batch, steps=2)
    for step, matters in ((2, True), (1, False), (0, False)):  # the support passes use their batch statistics
        other = params.map(torch.clone)
        other.statistics[3][step, 0] += 0.5
        assert ((outputs(algo, other, batch, steps=2) - base).abs().max() > 1e-9).item() is matters
    torch.testing.assert_close(
        outputs(algo, params, batch, steps=0),
        outputs(
            algo, params._replace(statistics=[torch.cat([v[:1], v[1:] + 1]) for v in params.statistics]), batch, steps=0
        ),
    )


@pytest.mark.parametrize("name", ALGORITHMS)
def test_per_step_runs_the_same_inner_loop_at_evaluation_as_in_training(name):
    algo, batch = algorithm(name, norm="per_step", inner_steps=inner_steps(name, 3)), batch_for(name)
    if hasattr(algo, "inner_batch"):
        algo.inner_batch_test = algo.inner_batch
    params = params_of(algo)
    params = params.leaves()._replace(statistics=[v + 0.7 for v in params.statistics])  # unlike the batch's
    trained, evaluated = (
        nth(algo.adapt(params, batch.support_x, batch.support_y, training=training), 3).weights
        for training in (True, False)
    )
    for key, value in trained.items():
        torch.testing.assert_close(evaluated[key], value, msg=key)
