"""Many tasks at once by kernels of our own: against PyTorch's, and against their derivatives."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from metalearn.algorithms.parameters import nth
from metalearn.kernels import conv as conv_module
from metalearn.kernels.conv import Geometry, conv
from metalearn.kernels.conv_stack import Block, How, run
from metalearn.kernels.layout import as_groups, expand, from_groups, stack
from metalearn.kernels.norm_act import _statistics, norm_act
from metalearn.kernels.patches import applies, as_matrix, block, patches
from metalearn.models.functional import sum_over_tasks
from tests.helpers.configs import every
from tests.helpers.tasks import algorithm, batch_of, close, params_of


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def test_the_layout_is_only_a_view():
    x = random(3, 2, 4, 5, 5)
    stacked = stack(x)
    assert torch.equal(stacked.permute(4, 0, 1, 2, 3), x)
    groups = as_groups(stacked)
    assert groups.data_ptr() == stacked.data_ptr() and groups.is_contiguous(memory_format=torch.channels_last)
    assert from_groups(groups, 3).data_ptr() == stacked.data_ptr() and torch.equal(from_groups(groups, 3), stacked)
    assert torch.equal(groups.view(2, 3, 4, 5, 5).transpose(0, 1), x)


HALF, SAME = Geometry((2, 2), (1, 1)), Geometry((1, 1), (1, 1))
GEOMETRIES = [
    ((3, 3), Geometry(padding=(1, 1))),
    ((3, 3), Geometry((2, 2), (1, 1))),
    ((1, 1), Geometry()),
    ((1, 1), Geometry((2, 2))),
    ((2, 2), Geometry((2, 2))),
    ((5, 3), Geometry((2, 1), (2, 1))),
    ((3, 3), Geometry((1, 1), (0, 2))),
    ((3, 3), Geometry((1, 1), (2, 2), (2, 2))),
    ((3, 3), Geometry((2, 1), (1, 1), (1, 1), 2)),
    ((3, 3), Geometry((1, 1), (1, 1), (1, 1), 4)),
]


@pytest.mark.parametrize("how", every(5, GEOMETRIES))
@pytest.mark.parametrize("tasks", every(2, [3, 1]))
@pytest.mark.parametrize("shared", ["own", "expanded", "shared"])
def test_convolution_and_its_derivatives(shared, tasks, how):
    size, geometry = how
    x = stack(random(tasks, 2, 4, 5, 5)).requires_grad_()
    own = random(tasks, 4, 4 // geometry.groups, *size)
    weight = (own if shared == "own" else own[0]).clone().requires_grad_()

    def ours(x, w):
        return conv(x, w.expand(tasks, *w.shape) if shared == "expanded" else w, geometry)

    def theirs(x, w):
        each = [w[t] if shared == "own" else w for t in range(tasks)]
        return torch.stack([F.conv2d(x[..., t], each[t], None, *geometry) for t in range(tasks)], -1)

    torch.testing.assert_close(ours(x, weight), theirs(x, weight))
    assert torch.autograd.gradcheck(ours, (x, weight), fast_mode=tasks > 1)
    assert torch.autograd.gradgradcheck(ours, (x, weight), fast_mode=tasks > 1)


@pytest.mark.parametrize("how", GEOMETRIES[:7])
@pytest.mark.parametrize("tasks", [3, 1])
def test_the_gradient_by_patches_is_that_of_the_grouped_convolution(tasks, how, monkeypatch):
    size, geometry = how
    x, weight = stack(random(tasks, 2, 4, 6, 5)), random(tasks, 3, 4, *size).requires_grad_()

    def gradient():
        return torch.autograd.grad(conv(x, weight, geometry).square().sum(), weight)[0]

    expected, called, by_patches = gradient(), [], conv_module._by_patches
    monkeypatch.setattr(conv_module, "PATCH_CHANNELS", 1)
    monkeypatch.setattr(conv_module, "_by_patches", lambda *given: called.append(1) or by_patches(*given))
    torch.testing.assert_close(gradient(), expected)
    assert called


def test_the_gradient_by_an_expanded_weight_is_each_tasks_own():
    x, weight = stack(random(3, 2, 3, 5, 5)), random(4, 3, 3, 3).expand(3, 4, 3, 3, 3).detach().requires_grad_()
    whole = weight.detach().clone().requires_grad_()
    a, b = (torch.autograd.grad(conv(x, w, HALF).square().sum(), w)[0] for w in (weight, whole))
    torch.testing.assert_close(a, b)
    assert not torch.allclose(a[0], a[1])


@pytest.mark.parametrize("filters", [4, 64])  # for each there is a kernel of its own
def test_the_gradient_by_a_shared_weight_is_the_sum_of_the_tasks(filters):
    x, weight = stack(random(3, 2, filters, 14, 14)), random(filters, filters, 3, 3).requires_grad_()
    each = expand(weight.detach(), 3).detach().requires_grad_()
    a, b = (torch.autograd.grad(conv(x, w, HALF).square().sum(), w)[0] for w in (weight, each))
    torch.testing.assert_close(a, sum_over_tasks(b))
    torch.testing.assert_close(a, b.sum(0))
    assert b.stride(2) == 1 and each.stride(2) == 1  # channels last, both


@pytest.mark.parametrize("slope", every(3, [0.1, 0, 1]))
@pytest.mark.parametrize("height", every(2, [5, 40]))  # few values a channel, and many
@pytest.mark.parametrize("shared", [True, False])
def test_batch_norm_and_activation_and_their_derivatives(height, shared, slope):
    x = random(2, 3, height, 16, 2).permute(0, 2, 3, 4, 1).contiguous().permute(0, 4, 1, 2, 3).requires_grad_()
    weight = random(*([3] if shared else [2, 3])).requires_grad_()
    bias = (weight.detach().roll(1, -1) + 0.1).requires_grad_()

    def ours(x, weight, bias):
        return norm_act(x, weight, bias, 1e-5, slope)

    own = [(weight, bias) if shared else (weight[t], bias[t]) for t in range(2)]
    norms = [F.batch_norm(x[..., t], None, None, *own[t], training=True) for t in range(2)]
    theirs = torch.stack([F.leaky_relu(y, slope) for y in norms], -1)
    torch.testing.assert_close(ours(x, weight, bias), theirs)
    if height == 5:
        assert torch.autograd.gradcheck(ours, (x, weight, bias), fast_mode=slope == 1)
        assert torch.autograd.gradgradcheck(ours, (x, weight, bias), fast_mode=True)
    ours, reference = (
        torch.autograd.grad(y.square().sum(), (x, weight, bias), create_graph=True)
        for y in (ours(x, weight, bias), theirs)
    )
    again = [
        torch.autograd.grad(
            sum(g.square().sum() for g in grads), (x, weight, bias), allow_unused=True, materialize_grads=True
        )
        for grads in (ours, reference)
    ]
    for a, b in zip((*ours, *again[0]), (*reference, *again[1]), strict=True):
        torch.testing.assert_close(a, b)


def weights_of(tasks, shared, sizes):
    """Kernel, gamma and beta of each layer, all different, where tasks have their own or one, expanded or not."""
    shapes = [s for i, o in itertools.pairwise(sizes) for s in ((o, i, 3, 3), (o,), (o,))]
    given = [s if shared == "shared" else (1 if shared == "expanded" else tasks, *s) for s in shapes]
    weights = [random(*size).roll(i, -1) + i / 10 for i, size in enumerate(given)]
    if shared == "expanded":
        weights = [w.expand(tasks, *w.shape[1:]) for w in weights]
    return [w.detach().requires_grad_() for w in weights]


def by_layer(weights, pool, slope=0.0):
    """The same as blocks; each third one has no activation where there is a slope."""
    layers = zip(*[iter(weights)] * 3, strict=True)
    hows = [
        How(SAME if pool else HALF, 1e-5, 1.0 if slope and i == 2 else slope, pool) for i in range(len(weights) // 3)
    ]
    return [Block(*own, how) for own, how in zip(layers, hows, strict=True)]


def layers_of_torch(x, weights, pool, slope=0.0):
    """The blocks as PyTorch has them, of each task [T, B, C, H, W] in turn."""
    maps = []
    for task, image in enumerate(x):
        own = [w[task] if w.ndim in (2, 5) else w for w in weights]
        for kernel, gamma, beta, how in by_layer(own, pool, slope):
            image = F.conv2d(image, kernel, None, *how.geometry)
            image = F.leaky_relu(F.batch_norm(image, None, None, gamma, beta, training=True), how.slope)
            image = F.max_pool2d(image, 2) if pool else image
        maps.append(image)
    return torch.stack(maps, -1)


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("shared", ["own", "expanded", "shared"])
@pytest.mark.parametrize("tasks", every(2, [3, 1]))
@pytest.mark.parametrize("sizes, slope", [((1, 27, 3), 0.0), ((1, 27), 0.2), ((3, 4, 4), 0.0), ((1, 27, 3, 3), 0.2)])
def test_blocks_are_those_of_torch(sizes, slope, tasks, shared, pool, twice):
    x = random(tasks, 2, sizes[0], 10, 12)
    weights = weights_of(tasks, shared, sizes)
    blocks = by_layer(weights, pool, slope)
    assert applies(x, weights[0], blocks[0].how.geometry) == (sizes[0] == 1)  # by way of patches, and not
    ours = run(x, blocks, twice)
    theirs = layers_of_torch(x, weights, pool, slope)
    torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        assert torch.equal(run(x, blocks, twice), ours)
    grad = random(*ours.shape)
    given = grad.clone()
    a, b = (torch.autograd.grad(y, weights, grad, retain_graph=True) for y in (ours, theirs))
    again = torch.autograd.grad(ours, weights, grad, retain_graph=True)
    assert torch.equal(grad, given) and all(map(torch.equal, a, again))  # nothing was overwritten
    torch.testing.assert_close(a, b)
    if not twice:
        with pytest.raises(RuntimeError, match="differentiated_twice"):  # and no zeros in place of second derivatives
            torch.autograd.grad(ours.square().sum(), weights, create_graph=True)
        return
    a, b = (torch.autograd.grad(y.square().sum(), weights, create_graph=True) for y in (ours, theirs))
    a, b = (torch.autograd.grad(sum(g.square().sum() for g in grads), weights) for grads in (a, b))
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("frozen", every(4, [(0,), (1,), (2,), (3,), (4,), (0, 1, 2), (3, 4, 5), (0, 3)]))
@pytest.mark.parametrize("sizes", [(1, 27, 3), (3, 4, 4)])
def test_blocks_with_frozen_weights_or_images_that_need_a_gradient(sizes, frozen, pool):
    x, weights = random(2, 2, sizes[0], 12, 12), weights_of(2, "shared", sizes)
    x.requires_grad_(frozen == (0, 3))
    asked = [w for i, w in enumerate(weights) if i not in frozen] + [x] * x.requires_grad
    for i in frozen:
        weights[i].requires_grad_(False)
    ours = [run(x, by_layer(weights, pool), twice) for twice in (False, True)]
    every = [torch.autograd.grad(y.square().sum(), asked) for y in (*ours, layers_of_torch(x, weights, pool))]
    torch.testing.assert_close(every[0], every[2])
    torch.testing.assert_close(every[1], every[2])


def usually(x, kernel, gamma, beta, geometry=HALF):
    return norm_act(conv(stack(x), kernel, geometry), gamma, beta, 1e-5, 0)


def by_patches(x, kernel, gamma, beta, geometry=HALF):
    p = patches(x, kernel.shape[-2:], geometry)
    return block(p, as_matrix(p, kernel, gamma, beta, 1e-5), 0)


@pytest.mark.parametrize("shared", ["own", "shared"])
@pytest.mark.parametrize("size, geometry", every(3, [(3, HALF), (3, SAME), (5, Geometry((2, 1), (2, 0)))], rows=True))
def test_the_first_block_and_its_derivatives(size, geometry, shared):
    x, weights = random(2, 2, 2, 6, 6), weights_of(2, shared, (2, 3))
    weights[0] = F.pad(weights[0], ((size - 3) // 2,) * 4, value=0.5).detach().requires_grad_()

    def ours(*weights):
        return by_patches(x, *weights, geometry)

    torch.testing.assert_close(ours(*weights), usually(x, *weights, geometry))
    assert torch.autograd.gradcheck(ours, weights, fast_mode=size == 5)
    assert torch.autograd.gradgradcheck(ours, weights, fast_mode=size == 5)


@pytest.mark.parametrize("blur", [1, 13])
def test_the_first_block_keeps_the_digits_of_single_precision(blur):
    strokes = F.avg_pool2d((random(75, 1, 28, 28) > 1.5).double(), 3, 1, 1) > 0.2
    x = F.avg_pool2d(strokes.double(), blur, 1, blur // 2)[None]
    weights = [w.detach()[0] for w in weights_of(1, "own", (1, 64))]
    weights[0] -= weights[0].mean((1, 2, 3), keepdim=True)  # edges: in a blur of small variance, the hardest case
    exact, ours, usual = (
        way(x.to(kind), *(w.to(kind) for w in weights)).double()
        for way, kind in ((usually, torch.float64), (by_patches, torch.float32), (usually, torch.float32))
    )
    assert (ours - exact).abs().mean() < 2 * (usual - exact).abs().mean() < 1e-6


def test_the_first_block_over_blank_images_is_beta():
    weights = [w.float() for w in weights_of(2, "shared", (1, 27))]
    y = by_patches(torch.zeros(2, 3, 1, 8, 8), *weights)
    torch.testing.assert_close(y, weights[2].relu()[:, None, None, None].expand_as(y))
    assert all(g.isfinite().all() for g in torch.autograd.grad(y.sum(), weights))


def test_who_goes_by_way_of_patches():
    x, kernel = torch.zeros(2, 3, 1, 8, 8), torch.zeros(27, 1, 3, 3)
    assert applies(x, kernel, SAME) and applies(x, kernel.expand(2, 27, 1, 3, 3), SAME)
    assert not applies(x, kernel[1:], SAME)  # the map is small itself
    assert not applies(x, kernel, Geometry((1, 1), (2, 2), (2, 2)))
    assert not applies(x.requires_grad_(), kernel, SAME)  # there is no gradient by patches
    with torch.autocast("cpu", torch.bfloat16):
        assert not applies(x.detach(), kernel, SAME)


def test_statistics_keep_six_digits_in_single_precision():
    x = (F.relu(random(75, 8, 14, 14)) + 1).contiguous(memory_format=torch.channels_last)
    mean, variance = _statistics(x.float())
    torch.testing.assert_close(mean.double(), x.mean((0, 2, 3)), rtol=1e-6, atol=0)
    torch.testing.assert_close(variance.double(), x.var((0, 2, 3), correction=0), rtol=2e-6, atol=0)


@pytest.mark.parametrize("filters", [4, 27])
@pytest.mark.parametrize("norm", ["transductive", "support", "per_step"])
@pytest.mark.parametrize("downsampling", ["stride", "max_pool"])
@pytest.mark.parametrize("pooling", every(2, ["flatten", "mean"]))
def test_all_engines_agree_in_every_mode(norm, downsampling, pooling, filters):
    batch, results = batch_of(shape=(1, 16, 16)), []
    for engine in ("grouped", "vmap"):
        like = {"shape": (1, 16, 16), "filters": filters, "downsampling": downsampling, "pooling": pooling}
        algo = algorithm("maml", kernel=engine, norm=norm, inner_steps=2, **like)
        params = params_of(algo)
        result = algo.meta_gradient(params, batch)
        predicted = algo.predict(nth(algo.adapt(params, batch.support_x, batch.support_y), 2), batch.query_x)
        results.append((result, predicted))
    (a, x), (b, y) = results
    close(a.gradients, b.gradients, rtol=1e-7, atol=1e-10)
    for ours, theirs in zip(a.statistics, b.statistics, strict=True):
        torch.testing.assert_close(ours, theirs)
    close(a.metrics, b.metrics)
    torch.testing.assert_close(x, y)


def test_the_engine_chooses_itself_by_device_and_precision():
    net = algorithm("maml").net
    assert net.is_grouped("cpu") and not net.is_grouped("cuda")
    with torch.autocast("cpu", torch.bfloat16):
        assert not net.is_grouped("cpu")
