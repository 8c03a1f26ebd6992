"""The head of a model: the linear layer that is its last operation, and the features that it takes."""

import copy
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from metalearn.models.weights import Weights
from metalearn.runtime.errors import UserError

NEW = "new"  # the value of `model.head` that puts a linear head on a module of features
PAGE = "; see docs/extending.md#a-model"


@dataclass(frozen=True)
class Head:
    """The head of a model, found by `find_head`.

    Attributes:
        module: name of the layer; empty if the model is this layer alone.
        in_features: number of features D.
        out_features: number of outputs.
        has_bias: False for nn.Linear(..., bias=False).
        is_named: True if the user named the layer.
    """

    module: str
    in_features: int
    out_features: int
    has_bias: bool
    is_named: bool

    @property
    def weight(self) -> str:
        """Name of the weight [out_features, D]."""
        return f"{self.module}.weight".removeprefix(".")

    @property
    def bias(self) -> str:
        """Name of the bias [out_features], also where the model has none."""
        return f"{self.module}.bias".removeprefix(".")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the head's parameters."""
        return (self.weight, self.bias) if self.has_bias else (self.weight,)

    def outputs(self, weights: Weights, features: Tensor) -> Tensor:
        """Features [T, B, D] to outputs [T, B, way]; the weight is [T, way, D] or [way, D], the bias may be absent."""
        made = features @ weights[self.weight].mT
        if (bias := weights.get(self.bias)) is None:
            return made
        return made + (bias[:, None] if bias.ndim == 2 else bias)

    def __str__(self) -> str:
        how = "as named" if self.is_named else "the last nn.Linear"
        return f"{self.module or 'the model'} ({self.in_features} features to {self.out_features} outputs), {how}"


class WithHead(nn.Module):
    """A module of features, and a linear head at zero: no class is preferred before adaptation.

    Args:
        body: maps inputs [B, ...] to features [B, D].
        width: D.
        outputs: number of ways, or dimension of the regression target.
    """

    def __init__(self, body: nn.Module, width: int, outputs: int):
        super().__init__()
        self.body = body
        self.head = zero_linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs [B, ...] to outputs [B, outputs]."""
        made: Tensor = self.head(self.body(x))
        return made


def zero_linear(width: int, outputs: int) -> nn.Linear:
    """A linear layer at zero."""
    layer = nn.Linear(width, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def name_of(model: nn.Module) -> str:
    """Name a model by its class, for messages."""
    return type(model.body if isinstance(model, WithHead) else model).__name__


def find_head(model: nn.Module, name: str | None = None) -> Head:
    """Find the head of a model.

    Args:
        model: maps inputs to outputs.
        name: of the layer, such as `fc`; by default the last nn.Linear in the order in which layers are registered.

    Raises:
        UserError: no such layer, or it cannot be a head; in one line.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"model={model!r}: must be a torch.nn.Module{PAGE}")
    who, layers = name_of(model), dict(model.named_modules())
    if lazy := [n for n, p in model.named_parameters() if is_lazy(p)]:
        raise UserError(f"model={who}: {lazy[0]} has no shape yet: give all widths, as nn.Linear does{PAGE}")
    linear = [n for n, layer in layers.items() if isinstance(layer, nn.Linear)]
    if name is not None and name not in layers:
        there = f"its linear layers are {', '.join(linear[-5:])}" if linear else "it has no nn.Linear"
        raise UserError(f"model.head={name}: {who} has no such layer; {there}")
    if name is None and not linear:
        raise UserError(
            f"model={who}: has no nn.Linear, which would be its head; model.head=new puts one on its features{PAGE}"
        )
    place = linear[-1] if name is None else name
    layer = layers[place]
    if not isinstance(layer, nn.Linear):
        raise UserError(f"model.head={place}: is of the class {type(layer).__name__}; a head must be nn.Linear{PAGE}")
    head = Head(place, layer.in_features, layer.out_features, layer.bias is not None, name is not None)
    own = dict(model.named_parameters())
    if shared := [n for n in head.names if n not in own]:
        raise UserError(f"model={who}: {shared[0]} of the head must be a parameter of this layer alone, not shared or "
                        "computed from others")  # fmt: skip
    return head


def without_head(model: nn.Module, head: Head) -> nn.Module:
    """A copy of the model that gives the features: the head is nn.Identity."""
    if not head.module:
        return nn.Identity()
    model = copy.deepcopy(model)
    layer = model.get_submodule(head.module)
    for parent in list(model.modules()):
        for name, child in parent._modules.items():  # a layer may have several names
            if child is layer:
                parent._modules[name] = nn.Identity()
    return model
