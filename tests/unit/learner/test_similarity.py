"""Linear CKA, and the outputs of layers that it compares."""

import math

import pytest
import torch
import torch.nn.functional as F

from metalearn.algorithms.parameters import nth
from metalearn.learner.similarity import alignment, centered_gram, linear_cka, query_grams
from metalearn.models.layers import find_layers
from tests.helpers.tasks import algorithm, batch_of, params_of


def test_cka_is_the_formula_of_the_paper_and_has_its_invariances():
    g = torch.Generator().manual_seed(0)
    x, y = (torch.randn(12, n, generator=g, dtype=torch.float64) for n in (30, 7))
    a, b = x - x.mean(0), y - y.mean(0)
    direct = (b.T @ a).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm())
    assert linear_cka(x, y) == pytest.approx(direct.item()) and 0 < direct < 1
    rotation = torch.linalg.qr(torch.randn(30, 30, generator=g, dtype=torch.float64))[0]
    assert linear_cka(x @ rotation, 5 * y + 3) == pytest.approx(direct.item())
    assert linear_cka(x, -2 * x @ rotation) == pytest.approx(1)
    stretched = x * torch.linspace(0.1, 3, 30)  # not a common factor
    assert linear_cka(x, stretched) < 0.99
    assert linear_cka(x.view(12, 5, 3, 2), y) == pytest.approx(direct.item())
    for undefined in (torch.ones(12, 3), torch.full((12, 3), math.nan)):
        assert math.isnan(linear_cka(x, undefined))


@pytest.mark.parametrize("norm", ["transductive", "support"])
def test_the_outputs_compared_are_those_behind_the_normalization_for_the_query_images(norm):
    algo, batch = algorithm("maml", norm=norm), batch_of()
    params = params_of(algo)
    layers = find_layers(algo.model.double(), (1, 12, 12))
    before, after = (nth(algo.adapt(params, batch.support_x, batch.support_y), n) for n in (0, 2))
    grams = {step.step: query_grams(algo, step, layers, batch.query_x, 1) for step in (before, after)}
    for adapted in (before, after):
        weights = algo.net.of_task(adapted.weights, 1)
        both = torch.cat([batch.support_x[1], batch.query_x[1]]) if norm == "support" else batch.query_x[1]
        z = F.conv2d(both, weights["convs.0.weight"], stride=2, padding=1)
        shots = z[:6] if norm == "support" else z
        mean, variance = shots.mean((0, 2, 3)), shots.var((0, 2, 3), correction=0)
        z = (z - mean[:, None, None]) / (variance + 1e-5).sqrt()[:, None, None]
        z = z * weights["norms.0.weight"][:, None, None] + weights["norms.0.bias"][:, None, None]
        torch.testing.assert_close(grams[adapted.step][0], centered_gram(z[-6:]))
        scores = algo.predict(adapted, batch.query_x)[1]
        torch.testing.assert_close(grams[adapted.step][-1], centered_gram(scores))
    assert all(alignment(a, b) < 1 - 1e-9 for a, b in zip(grams[0], grams[2], strict=True))
