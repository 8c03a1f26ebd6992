"""Similarity of representations before and after adaptation: linear CKA of each layer."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.parameters import Adapted, MetaParameters, nth
from metalearn.data.base import TaskSource
from metalearn.models.layers import Layer
from metalearn.models.norm import NormContext
from metalearn.models.weights import Weights
from metalearn.training.chunks import Chunks


def linear_cka(x: Tensor, y: Tensor) -> float:
    """Linear centered kernel alignment of two representations of the same B inputs.

    Kornblith, Norouzi, Lee & Hinton, "Similarity of neural network representations revisited", ICML 2019
    (arxiv.org/abs/1905.00414), section 3: |Y'X|^2 / (|X'X| |Y'Y|) with Frobenius norms, where each column of X and Y
    has mean 0. It is 1 for equal representations, and unchanged by rotations and by a common factor of either.

    Args:
        x: [B, ...] and y: [B, ...], of any widths; the values of an input are one row.

    Returns:
        A number in 0..1; NaN where a representation is the same for all inputs, or not finite.
    """
    return alignment(centered_gram(x), centered_gram(y))


def centered_gram(x: Tensor) -> Tensor:
    """Products of the rows of x [B, ...] after centering its columns: float64 [B, B]."""
    rows = x.detach().flatten(1).double()
    rows = rows - rows.mean(0)
    return rows @ rows.mT


def alignment(a: Tensor, b: Tensor) -> float:
    """CKA from two centered Gram matrices [B, B].

    With K = XX' and L = YY', <K, L> = |Y'X|^2 and |K| = |X'X|: B x B matrices hold all that is needed, whatever the
    widths of the layers.
    """
    scale = (a.norm() * b.norm()).item()
    return min(1.0, (a * b).sum().item() / scale) if scale > 0 and math.isfinite(scale) else math.nan


def representation_similarity(
    algorithm: Algorithm,
    params: MetaParameters,
    layers: Sequence[Layer],
    source: TaskSource,
    *,
    tasks: int,
    way: int,
    shot: int,
    query: int,
    device: str,
    chunks: Chunks,
    watch: Callable[[int], None] = lambda done: None,
) -> list[list[float]]:
    """Compare the outputs of each layer for query inputs before and after the inner loop of evaluation, in each task.

    Outputs are taken after the layer's normalization and before the activation. All values of an input are one row.

    Args:
        layers: from metalearn.models.layers.find_layers.
        tasks: how many; always tasks 0 .. tasks-1 of the source.
        chunks: chooses how many tasks are adapted at once.
        watch: called with the number of tasks done; what it raises ends the work.

    Returns:
        The linear CKA by layer and task. NaN where it is not defined: an output is the same for all inputs, is not
        finite, or has no row for each input.
    """
    params = params.map(lambda value: value.detach())
    found: list[list[float]] = [[] for _ in layers]
    start = 0
    while start < tasks:
        watch(start)
        probe = source.tasks(torch.tensor([start], device=device), way, shot, query)
        size = min(chunks.tasks_at_once(probe), tasks - start)
        batch = source.tasks(torch.arange(start, start + size, device=device), way, shot, query)
        path = algorithm.adapt(params, batch.support_x, batch.support_y)
        before = next(path)
        after = nth(path, algorithm.inner_steps_test - 1)
        for task in range(size):
            grams = [query_grams(algorithm, adapted, layers, batch.query_x, task) for adapted in (before, after)]
            for values, one, other in zip(found, *grams, strict=True):
                values.append(math.nan if one is None or other is None else alignment(one, other))
        start += size
    return found


@torch.no_grad()
def query_grams(
    algorithm: Algorithm, adapted: Adapted, layers: Sequence[Layer], query_x: Tensor, task: int
) -> list[Tensor | None]:
    """The centered Gram matrix [B, B] of each layer's output for the query inputs of one task.

    Args:
        adapted: to T tasks.
        query_x: [T, B, ...].
        task: its place among the T.

    Returns:
        None for a layer whose output has no row for each input.
    """
    grams: dict[str, Tensor] = {}
    queries = query_x.shape[1]

    def forward(weights: Weights, x: Tensor, context: NormContext) -> tuple[Tensor, list[Tensor]]:
        def look(name: str, output: Tensor) -> None:
            if output.ndim > 1 and len(output) == x.shape[1]:  # after the support inputs, where these are in the pass
                grams[name] = centered_gram(output[-queries:])

        watch = {layer.output: partial(look, layer.output) for layer in layers}
        return algorithm.net.watched_outputs(weights, x[0], context, watch)[None], []

    alone = replace(
        adapted,
        weights=algorithm.net.of_task(adapted.weights, task),
        support_x=adapted.support_x[task : task + 1],
    )
    algorithm.passes.over_query(forward, alone, query_x[task : task + 1], training=False)
    return [grams.get(layer.output) for layer in layers]
