"""The weights of each layer: their size, their kind, and how far the inner loop moves them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.parameters import Adapted, MetaParameters, Part, layer_of


def layer_parts(algorithm: Algorithm, params: MetaParameters) -> dict[str, Part]:
    """Map the name of each learned entry to the part of the model that shows it in tables and pictures: its layer.

    Batch norm's gamma and beta are two parts, since a mean over both would have no meaning.
    """
    norms = algorithm.net.norm_parameters
    found: dict[str, Part] = {}
    for name in params.learned:
        norm = next((own for own in norms if f".{name}".endswith(f".{own}")), None)
        which = {"weight": "gamma", "bias": "beta"}[norm.rpartition(".")[2]] if norm else ""
        kind = (which or "weights") if name in params.model else algorithm.extra_kind
        found[name] = Part(f"{layer_of(name)}.{which}" if which else layer_of(name), kind)
    return found


def layer_statistics(params: MetaParameters, parts: Mapping[str, Part]) -> dict[Part, tuple[float, float]]:
    """The mean over all learned weights of each layer, and the root of their mean square.

    Args:
        params: the meta-parameters.
        parts: by entry, from `layer_parts`.
    """
    values: dict[Part, list[Tensor]] = {}
    for name, value in params.learned.items():
        values.setdefault(parts[name], []).append(value.detach().flatten())
    joined = {part: torch.cat(pieces) for part, pieces in values.items()}
    return {part: (w.mean().item(), w.square().mean().sqrt().item()) for part, w in joined.items()}


def layer_distances(adapted: Adapted, params: MetaParameters, parts: Mapping[str, Part]) -> dict[str, Tensor]:
    """Mean squared distance of each layer's weights from the start of the inner loop, for each task: [T]."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    for name, weights in adapted.weights.items():
        if name not in params.model:  # the bias of prototypes, where the model's head has none
            continue
        layer, start = parts[name].name, params.model[name]
        if weights.shape[-start.ndim :] != start.shape:  # a head for another number of classes
            continue
        tasks = len(adapted.support_x)
        moved = (weights - start).square()
        moved = moved.flatten(1).sum(1) if moved.ndim > start.ndim else moved.sum().expand(tasks)
        sums[layer] = sums[layer] + moved if layer in sums else moved
        counts[layer] = counts.get(layer, 0) + start.numel()
    return {layer: total / counts[layer] for layer, total in sums.items()}
