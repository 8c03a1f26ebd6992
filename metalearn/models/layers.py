"""The layers of a model, in the order of a forward pass."""

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from metalearn.models.checks import dry_pass, example
from metalearn.models.head import name_of
from metalearn.models.norm import BatchNorm

NORMS = (BatchNorm, _NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


class Layer(NamedTuple):
    """A module with parameters, such as a convolution, with the normalization that is called next.

    Attributes:
        name: of the module; the class of the model where the model itself has parameters.
        output: name of the module that gives the layer's output: the normalization, where there is one.
        parameters: names of the parameters of both.
    """

    name: str
    output: str
    parameters: tuple[str, ...]


def find_layers(model: nn.Module, shape: Sequence[int]) -> list[Layer]:
    """Find the layers of any module by a dry pass, in the order in which they are called first.

    Every parameter belongs to one layer. The parameters of a module that is not called itself, such as the output
    layer of nn.MultiheadAttention, belong to the nearest module around it that is.

    Args:
        model: maps inputs to outputs.
        shape: of one input.
    """
    model = copy.deepcopy(model).eval()
    modules = dict(model.named_modules())
    called: dict[str, None] = {}

    def enter(name: str, *_: Any) -> None:
        called.setdefault(name)

    hooks = [module.register_forward_pre_hook(partial(enter, name)) for name, module in modules.items()]
    dry_pass(model, example(model, shape), name_of(model))
    for hook in hooks:
        hook.remove()
    own = _parameters(model, modules, called)
    found: list[Layer] = []
    for name in called:
        if isinstance(modules[name], NORMS) and found:
            before = found.pop()
            found.append(Layer(before.name, name, (*before.parameters, *own.get(name, ()))))
        elif name in own:
            found.append(Layer(name or name_of(model), name, tuple(own[name])))
    return found


def _parameters(model: nn.Module, modules: dict[str, nn.Module], called: dict[str, None]) -> dict[str, list[str]]:
    """The names of parameters by the called module that they belong to; a shared one belongs to the first of them."""
    names = {id(p): name for name, p in model.named_parameters()}
    holders: dict[str, list[str]] = {}  # by called module: those inside whose parameters are its own
    for name in modules:
        place = name
        while place and place not in called:
            place = place.rpartition(".")[0]
        holders.setdefault(place, []).append(name)
    own: dict[str, list[str]] = {}
    for place in called:
        for name in holders.get(place, ()):
            for p in modules[name]._parameters.values():
                if p is not None and (full := names.pop(id(p), None)) is not None:
                    own.setdefault(place, []).append(full)
    return own
