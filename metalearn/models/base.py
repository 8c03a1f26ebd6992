"""What an algorithm needs of a model, and its application to one set of weights a task."""

import copy

from torch import Tensor, nn
from torch.func import functional_call, vmap

from metalearn.models.norm import BatchNorm, Pass

Weights = dict[str, Tensor]  # by parameter name; with a leading task dimension where they differ between tasks


class MetaModel(nn.Module):
    """A backbone with a linear head. Subclasses set `head` and define `features`."""

    head: nn.Linear

    def features(self, x: Tensor, norm: Pass) -> Tensor:
        """Inputs [B, ...] to features [B, D]."""
        raise NotImplementedError

    def forward(self, x: Tensor, norm: Pass) -> Tensor:
        """Inputs [B, ...] to outputs [B, way]."""
        return self.head(self.features(x, norm))

    def norm_channels(self) -> list[int]:
        """Channels of every batch-norm layer, in the order in which a forward pass meets them."""
        return [len(m.weight) for m in self.modules() if isinstance(m, BatchNorm)]

    def norm_parameters(self) -> set[str]:
        """Names of batch norm's gamma and beta."""
        layers = [name for name, module in self.named_modules() if isinstance(module, BatchNorm)]
        return {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}


class _Features(nn.Module):
    """`features` behind `forward`, which is what functional_call calls."""

    def __init__(self, model: MetaModel):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, norm: Pass) -> Tensor:
        return self.model.features(x, norm)


class Functional:
    """A model as a pure function of its weights, for many tasks at once.

    Each weight may have the model's own shape (shared by all tasks) or a leading task dimension [T, ...].
    """

    def __init__(self, model: MetaModel):
        self.model = copy.deepcopy(model).to("meta")  # no weights are held here, and none can be used by mistake
        self._dims = {name: p.ndim for name, p in model.named_parameters()}
        self._features = _Features(self.model)

    def outputs(self, weights: Weights, x: Tensor, norm: Pass) -> tuple[Tensor, list[Tensor]]:
        """x [T, B, ...] to outputs [T, B, way] and, with `norm.collect`, each norm layer's statistics [T, 2, C]."""
        return self._apply(self.model, weights, x, norm)

    def features(self, weights: Weights, x: Tensor, norm: Pass) -> tuple[Tensor, list[Tensor]]:
        """x [T, B, ...] to features [T, B, D] and statistics, as `outputs`."""
        named = {f"model.{name}": weight for name, weight in weights.items()}
        return self._apply(self._features, named, x, norm)

    def _apply(self, module: nn.Module, weights: Weights, x: Tensor, norm: Pass) -> tuple[Tensor, list[Tensor]]:
        def one_task(weights: Weights, x: Tensor) -> tuple[Tensor, list[Tensor]]:
            own = Pass(norm.reference, norm.running, norm.collect)
            return functional_call(module, weights, (x, own)), own.seen

        dims = {n: 0 if w.ndim > self._dims[n.removeprefix("model.")] else None for n, w in weights.items()}
        return vmap(one_task, in_dims=(dims, 0))(weights, x)


def linear(weights: Weights, features: Tensor) -> Tensor:
    """The head alone: features [T, B, D] to outputs [T, B, way]; `head.weight` is [T, way, D] or [way, D]."""
    weight, bias = weights["head.weight"], weights["head.bias"]
    return features @ weight.mT + (bias[:, None] if bias.ndim == 2 else bias)
