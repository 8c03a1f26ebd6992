"""The weights of each layer: their size, their kind, and how far the inner loop moves them."""

import torch
from torch import Tensor

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.parameters import Adapted, MetaParameters, layer_of


def layer_statistics(params: MetaParameters) -> dict[str, tuple[float, float]]:
    """The mean over all learned weights of each layer, and the root of their mean square."""
    values: dict[str, list[Tensor]] = {}
    for name, value in params.learned.items():
        values.setdefault(layer_of(name), []).append(value.detach().flatten())
    joined = {layer: torch.cat(parts) for layer, parts in values.items()}
    return {layer: (w.mean().item(), w.square().mean().sqrt().item()) for layer, w in joined.items()}


def layer_kinds(algorithm: Algorithm, params: MetaParameters) -> dict[str, str]:
    """The kind of each layer: `norm` (gamma and beta), `rate` (learned inner rates) or `weights`."""
    norms = algorithm.model.norm_parameters()
    kinds = {layer_of(name): "norm" if name in norms else "weights" for name in params.model}
    return kinds | {layer_of(name): algorithm.extra_kind for name in params.extra}


def layer_distances(adapted: Adapted, params: MetaParameters) -> dict[str, Tensor]:
    """Mean squared distance of each layer's weights from the start of the inner loop, for each task: [T]."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    for name, weights in adapted.weights.items():
        layer, start = layer_of(name), params.model[name]
        if weights.shape[-start.ndim :] != start.shape:  # a head for another number of classes
            continue
        tasks = len(adapted.support_x)
        moved = (weights - start).square()
        moved = moved.flatten(1).sum(1) if moved.ndim > start.ndim else moved.sum().expand(tasks)
        sums[layer] = sums[layer] + moved if layer in sums else moved
        counts[layer] = counts.get(layer, 0) + start.numel()
    return {layer: total / counts[layer] for layer, total in sums.items()}
